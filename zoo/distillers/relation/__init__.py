"""Distillers that read relations among samples, channels or positions."""
