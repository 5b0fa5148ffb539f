"""What a real NVIDIA board shows about its sensors, its power, this meter, and models of real shape.

`python scripts/gpu_validation.py` runs it. One module per experiment; each has a part that works the board (`run`)
and a pure part (`judge`) that turns readings and the schedule into verdicts, so that stored readings can be judged
again and the judgement is tested on synthetic boards.
"""
