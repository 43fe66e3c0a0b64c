"""Tasks: what a batch is, and how teacher and student are run on it."""
from .classification import Classification
from .distillation import Distillation, NonFiniteLossError

__all__ = ['Classification', 'Distillation', 'NonFiniteLossError']
