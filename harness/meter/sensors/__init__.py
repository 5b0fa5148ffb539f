"""What can be polled: NVML boards, RAPL, and an estimate where nothing can be measured."""
