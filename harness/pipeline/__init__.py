"""Connects the stages for one cell at one site: one session, from loading the model to the last final query.

    prompts -> engine -> meter -> attribution -> store

`session.py` asks one query at a time, `load.py` several at once; `recording.py` is what both keep of time and energy.
"""
