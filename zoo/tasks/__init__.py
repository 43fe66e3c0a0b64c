"""Tasks: what a batch is, and how teacher and student are run on it."""
from .classification import Classification
from .distillation import Distillation, NonFiniteLossError
from .masked_images import MaskedImages

__all__ = ['Classification', 'Distillation', 'MaskedImages', 'NonFiniteLossError']
