"""Statistics of a teacher over a training set."""
import torch
from torch import Tensor


def teacher_class_means(feats: Tensor, labels: Tensor, *, num_classes: int) -> Tensor:
    """The mean embedding of each class: the plain average over its samples, not rounded.

    From Wang et al., "Improving Knowledge Distillation via Regularizing Feature Norm and Direction", arXiv:2305.17007;
    reference WangYZ1608/Knowledge-Distillation-via-ND@fc6f3f9 (whose released files are rounded to 4 decimals).

    Args:
        feats: ``(N, D)`` floating, the teacher's pooled features over the training set.
        labels: ``(N,)`` integer, the true classes.
        num_classes: K.

    Returns:
        ``(K, D)`` in the dtype of ``feats`` (float32 where that is half precision); summed in float64.

    Raises:
        ValueError: for shapes that do not fit, labels outside ``0 .. K - 1``, or a class without samples.
    """
    if feats.ndim != 2 or labels.shape != feats.shape[:1]:
        raise ValueError(f'teacher_class_means needs feats (N, D) and labels (N,), got {tuple(feats.shape)} and '
                         f'{tuple(labels.shape)}.')
    labels = labels.to(feats.device, torch.int64)
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(f'Labels must lie in 0 .. {num_classes - 1}, got {int(labels.min())} .. {int(labels.max())}.')
    counts = torch.bincount(labels, minlength=num_classes)
    if (counts == 0).any():
        missing = (counts == 0).nonzero().flatten().tolist()
        raise ValueError(f'Every class must occur, but {len(missing)} of {num_classes} have no samples: '
                         f'{", ".join(map(str, missing))}.')
    exact = torch.float32 if feats.device.type == 'mps' else torch.float64
    sums = torch.zeros(num_classes, feats.shape[1], dtype=exact, device=feats.device)
    sums.index_add_(0, labels, feats.to(exact))
    out = torch.float32 if feats.dtype in (torch.float16, torch.bfloat16) else feats.dtype
    return (sums / counts[:, None]).to(out)
