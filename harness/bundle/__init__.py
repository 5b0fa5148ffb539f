"""A run as one file that others can check and repeat: written byte for byte the same, read as data and nothing else."""
