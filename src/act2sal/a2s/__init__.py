"""The paper: one file per idea, in the order of its equations."""
