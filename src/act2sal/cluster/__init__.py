"""Commands over very many photos on a Ray cluster."""
