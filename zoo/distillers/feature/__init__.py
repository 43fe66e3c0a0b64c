"""Distillers that read feature maps or embeddings."""
