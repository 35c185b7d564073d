"""Photos, masks, labels and arrays on disk."""
