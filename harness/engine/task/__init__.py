"""What a task is and how any of them is run; the tasks themselves are in `harness.engine.tasks`, one file each."""
