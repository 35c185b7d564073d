"""Encoders, and what reads and writes the weights of networks."""
