"""The tasks, one file each: its description as `TASK`, and how one query of it is run.

To add a task, add its file and its test: the catalogue finds it by itself. Nothing here is imported at a module's top
that takes long: torch, transformers and diffusers are imported when a model is opened, so that `harness tasks` is fast.
"""
