"""KD-SVD.

Lee, Kim, Song: Self-supervised Knowledge Distillation Using Singular Value Decomposition. ECCV 2018, arXiv:1807.06819.
``mode='channel'`` is equal to HobbitLong/RepDistiller@b84f547, ``mode='width'`` to megvii-research/mdistiller@a08d46f,
up to the sign of the teacher's singular vectors, which is arbitrary there and canonical here (the authors' TensorFlow
code, sseung0703/SSKD_SVD, was not used).
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs
from .at import check_maps, layer_names, listed, to_smaller_map

__all__ = ['KDSVD', 'kdsvd_loss']


def _finite(x: Tensor) -> Tensor:
    return torch.where(torch.isfinite(x), x, 0)


def _truncated_svd(feat: Tensor, columns: int, mode: str) -> tuple[Tensor, Tensor]:
    """The first singular values ``(N, columns)`` and right-singular vectors ``(N, rows, columns)`` of a map."""
    if mode == 'channel':
        matrix = feat.to(torch.promote_types(feat.dtype, torch.float32)).flatten(2).transpose(1, 2)
    else:
        matrix = feat.float().flatten(1, 2)
    matrix = _finite(matrix)
    if matrix.requires_grad:
        # equal singular values, such as those of two dead channels, make the backward pass divide by zero
        matrix.register_hook(_finite)
    _, values, vectors = torch.linalg.svd(matrix, full_matrices=False)
    vectors = _finite(vectors).transpose(1, 2)[..., :columns]
    return _finite(values)[:, :columns], F.normalize(vectors, dim=1, eps=1e-12)


def _canonical_sign(vectors: Tensor) -> Tensor:
    """Flip the columns of ``(N, rows, k)`` so that each one's entry of largest magnitude is positive."""
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return torch.where(largest < 0, -vectors, vectors)


def _align(student: Tensor, teacher: Tensor) -> Tensor:
    """For each teacher vector the student vector of largest ``|cos|``, with the sign that makes the cosine positive."""
    cosine = (student.transpose(1, 2) @ teacher).detach()
    magnitude = cosine.abs()
    mask = torch.where(magnitude == magnitude.amax(1, keepdim=True), cosine.sign(), 0)
    return student @ mask


def _relation(vectors: Tensor, previous: Tensor) -> Tensor:
    """RBF relation of two levels' vectors, ``(N, rows, previous rows, k)``."""
    return torch.exp(-(vectors[:, :, None, :] - previous[:, None, :, :]).square() / 8)


def _check(student: Sequence, teacher: Sequence, k: int, mode: str) -> None:
    """Raise ValueError where the shapes of the maps do not serve the mode."""
    check_maps(student, teacher, 'KDSVD')
    if len(student) < 2:
        raise ValueError('KDSVD relates consecutive maps, and got one: name two or more with `student_layers` and '
                         '`teacher_layers`.')
    for s, t in zip(student, teacher):
        if mode == 'channel' and s[1] != t[1]:
            raise ValueError(f"KDSVD with mode='channel' needs equal channels, and got {s[1]} (student) and {t[1]} "
                             "(teacher): use mode='width' or other layers.")
        if mode == 'width' and s[3] != t[3]:
            raise ValueError(f"KDSVD with mode='width' needs maps of equal width, and got {s[3]} (student) and {t[3]} "
                             "(teacher): pool the wider one, or use mode='channel'.")
        for shape in (s, t):
            _, channels, height, width = shape
            rank = min(height * width, channels) if mode == 'channel' else min(channels * height, width)
            if rank < k:
                raise ValueError(f'KDSVD keeps k={k} singular vectors, and a map of shape {tuple(shape)} has only '
                                 f'{rank}: use a smaller k or larger maps.')


def kdsvd_loss(student_feats: Sequence[Tensor], teacher_feats: Sequence[Tensor], *, k: int = 1,
               mode: str = 'channel') -> Tensor:
    """Squared difference of the relations between consecutive levels' singular vectors, summed, over the batch size.

    Args:
        student_feats, teacher_feats: equally many maps ``(N, C, H, W)``, two or more.
        k: singular vectors of a map that are kept (the student aligns k + 3 of them to the teacher's k).
        mode: ``'channel'`` decomposes positions x channels (equal channels at each level, sizes may differ), in the
            input's precision, but at least float32; ``'width'`` the view ``(C*H, W)`` (equal widths, channels may
            differ), in float32.

    Raises:
        ValueError: for an unknown mode, k below 1, fewer than two levels, or maps that do not serve the mode.
    """
    if mode not in ('channel', 'width') or k < 1:
        raise ValueError(f"KDSVD needs mode='channel' or 'width' and k >= 1, and got mode={mode!r}, k={k}.")
    _check([f.shape for f in student_feats], [f.shape for f in teacher_feats], k, mode)
    total, previous = 0, None
    for student_feat, teacher_feat in zip(student_feats, teacher_feats):
        with torch.no_grad():
            values, teacher = _truncated_svd(teacher_feat, k, mode)
            values = F.normalize(values, dim=1, eps=1e-12)[:, None, :]
            teacher = _canonical_sign(teacher)
        _, student = _truncated_svd(student_feat, k + 3, mode)
        level = _align(student, teacher) * values, teacher * values
        if previous is not None:
            difference = _relation(level[0], previous[0]) - _relation(level[1], previous[1])
            total = total + _finite(difference.square()).sum()
        previous = level
    return total / len(student_feats[0])


@DISTILLERS.register_module()
class KDSVD(Distiller):
    """KD-SVD: match the relation of consecutive stages' singular vectors (Lee et al., ECCV 2018, arXiv:1807.06819).

    Args:
        k, mode: see :func:`kdsvd_loss`. With ``mode='width'`` the larger of two maps is average-pooled to the smaller
            one's size first.
        student_layers, teacher_layers: taps of the maps, in pairs; ``stages`` are all stages without the stem.
    """

    def __init__(self, k: int = 1, mode: str = 'channel', student_layers: str | Sequence[str] = 'stages',
                 teacher_layers: str | Sequence[str] = 'stages'):
        super().__init__()
        if mode not in ('channel', 'width') or k < 1:
            raise ValueError(f"KDSVD needs mode='channel' or 'width' and k >= 1, and got mode={mode!r}, k={k}.")
        self.k, self.mode = k, mode
        self.needs = Needs(student=layer_names(student_layers), teacher=layer_names(teacher_layers))

    def build(self, shapes):
        student, teacher = listed(shapes.student, self.needs.student), listed(shapes.teacher, self.needs.teacher)
        check_maps(student, teacher, 'KDSVD')
        if self.mode == 'width':
            sizes = [min(tuple(s[2:]), tuple(t[2:])) for s, t in zip(student, teacher)]
            student = [(*s[:2], *size) for s, size in zip(student, sizes)]
            teacher = [(*t[:2], *size) for t, size in zip(teacher, sizes)]
        _check(student, teacher, self.k, self.mode)

    def forward(self, student, teacher, batch, progress):
        student, teacher = listed(student, self.needs.student), listed(teacher, self.needs.teacher)
        if self.mode == 'width':
            student, teacher = zip(*(to_smaller_map(s, t) for s, t in zip(student, teacher)))
        return {'kdsvd': kdsvd_loss(student, teacher, k=self.k, mode=self.mode)}
