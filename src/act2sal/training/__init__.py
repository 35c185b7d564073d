"""From unlabelled photos to labels, and from labels to a detector."""
