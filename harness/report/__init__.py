"""What people read: terminal, Markdown and HTML, all three from one receipt whose figures are formatted once."""
