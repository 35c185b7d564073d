"""What a training leaves on disk: its folder, log, state, samples, report."""
