"""The gate's verdict for people and for pipelines."""
