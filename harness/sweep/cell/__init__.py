"""One cell in a fresh process: what it is given, how it ends, what it leaves on disk."""
