"""Commands over very many photos on a Ray cluster: what to read, in which shards, and how each is kept once."""
