"""A plan of cells, each in a process of its own, on one machine or a cluster; it survives what kills a part of it."""
