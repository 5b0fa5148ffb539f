"""A fake NVML shared library: real pynvml, a known power curve, no GPU."""
