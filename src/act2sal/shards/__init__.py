"""Very many photos, in shards: what they are, where they are read, and how results are kept, each once."""
