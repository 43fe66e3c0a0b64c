"""Distillers for dense prediction: detection (mmdet) and segmentation (mmseg)."""
