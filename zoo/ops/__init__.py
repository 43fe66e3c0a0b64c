"""mmcv's compiled operators from torch and torchvision, so that mmdet and mmseg run from plain wheels.

``mmcv-lite`` holds all of ``mmcv.ops`` but the compiled module under it. :func:`install` puts a module of this package in
that place: mmdet and mmseg then import, and their networks keep mmcv's own classes, registrations and state dicts. A
compiled mmcv is left alone.

>>> import zoo.ops
>>> zoo.ops.install()
>>> from mmcv.ops import batched_nms
"""
from .extension import install, installed

__all__ = ['install', 'installed']
