"""What is joined beside the measurement and never mixed in: a wall meter's log, another program's figure."""
