"""A server of a model on this machine: started or found, identified, and set beside the boards that it uses."""
