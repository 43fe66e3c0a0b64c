"""Distillers for transformers and for pairs of different architectures."""
