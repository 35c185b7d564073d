"""What the rest runs on: devices, cores, processes, compiled code, progress, time."""
