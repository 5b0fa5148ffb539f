"""What stands behind a figure, in words and numbers: for the terminal, and what the page takes from it."""
