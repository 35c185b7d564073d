"""Re-runs the paper: each table and figure is a target, which trains what it needs and compares with the print."""
