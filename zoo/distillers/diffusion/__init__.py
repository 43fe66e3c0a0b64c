"""Distillers of diffusion models into few-step generators."""
