"""Tasks: what a batch is, and how teacher and student are run on it."""
from .base import Task
from .classification import Classification
from .dense import DenseTapReader, DenseTask
from .detection import Detection, DetectorTapReader
from .diffusion import Diffusion
from .distillation import Distillation, NonFiniteLossError
from .masked_images import MaskedImages
from .segmentation import Segmentation, SegmentorTapReader

__all__ = ['Classification', 'DenseTapReader', 'DenseTask', 'Detection', 'DetectorTapReader', 'Diffusion', 'Distillation',
           'MaskedImages', 'NonFiniteLossError', 'Segmentation', 'SegmentorTapReader', 'Task']
