"""Energy of queries that are in flight together: each instant's is shared by the progress that each makes."""
