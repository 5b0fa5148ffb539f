"""Where cells run: on this machine, on the nodes of a Ray cluster, or as jobs of Slurm. They place cells, no more."""
