"""An OpenAI-compatible server under load: the child process that loads it, and what its streams mean.

Nothing is imported here: the child process passes this way, and starts faster without pydantic.
"""
