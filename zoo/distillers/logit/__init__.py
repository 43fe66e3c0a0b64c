"""Distillers that read logits."""
