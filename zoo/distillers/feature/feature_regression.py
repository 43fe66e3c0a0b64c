"""Feature regression losses of foundation-model distillation.

Shang, Schmeckpeper, May, Minniti, Kelestemur, Watkins, Herlant: Theia: Distilling Diverse Vision Foundation Models for
Robot Learning. CoRL 2024, arXiv:2407.20179. Ranzinger, Heinrich, Kautz, Molchanov: AM-RADIO: Agglomerative Vision
Foundation Model -- Reduce All Domains Into One. CVPR 2024, arXiv:2312.06709.
Reference code: bdaiinstitute/theia@59d0448 (src/theia/models/rvfm.py, scripts/train/train_rvfm.py); the cosine per
token is the form of AM-RADIO, without reference code here.
"""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.connectors import connect
from zoo.registry import DISTILLERS

from ..base import Distiller, Needs
from ..levels import as_levels

__all__ = ['FeatureRegression', 'cosine_feature_loss', 'smooth_l1_feature_loss', 'vfm_feature_loss']


def _pair(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    if student.shape != teacher.shape:
        raise ValueError(f'Predicted and target features need one shape, got {tuple(student.shape)} and '
                         f'{tuple(teacher.shape)}.')
    if student.dtype in (torch.float16, torch.bfloat16):
        student = student.float()
    return student, teacher.to(student.dtype)


def cosine_feature_loss(student_feat: Tensor, teacher_feat: Tensor, *, reduction: str = 'sample') -> Tensor:
    """One minus the cosine, averaged.

    Args:
        student_feat, teacher_feat: ``(N, D)``, ``(N, L, D)`` or ``(N, C, H, W)`` of one shape.
        reduction: ``'sample'``: over everything but N flattened (Theia); ``'token'``: over the channels of each
            position (the last axis, or axis 1 of maps).

    Raises:
        ValueError: for another reduction or unequal shapes.
    """
    student, teacher = _pair(student_feat, teacher_feat)
    if reduction == 'sample':
        return (1 - F.cosine_similarity(student.flatten(1), teacher.flatten(1), dim=1)).mean()
    if reduction == 'token':
        return (1 - F.cosine_similarity(student, teacher, dim=1 if student.dim() == 4 else -1)).mean()
    raise ValueError(f"reduction is 'sample' or 'token', not {reduction!r}.")


def smooth_l1_feature_loss(student_feat: Tensor, teacher_feat: Tensor, *, beta: float = 1.0) -> Tensor:
    """Smooth L1 distance with threshold ``beta``, the mean over all elements of two tensors of one shape.

    Raises:
        ValueError: for unequal shapes.
    """
    return F.smooth_l1_loss(*_pair(student_feat, teacher_feat), beta=beta)


def vfm_feature_loss(student_feats: list[Tensor], teacher_feats: list[Tensor], *, cosine_weight: float = 0.9,
                     l1_weight: float = 0.1) -> Tensor:
    """Theia's loss: weighted cosine (per sample) and smooth L1 distances, averaged over the teachers.

    Args:
        student_feats, teacher_feats: one entry a teacher; each a pair of one shape, as in :func:`cosine_feature_loss`.
        cosine_weight, l1_weight: of the two distances.

    Raises:
        ValueError: if the lists are empty or differ in length, or a pair in shape.
    """
    if len(student_feats) != len(teacher_feats) or not student_feats:
        raise ValueError(f'vfm_feature_loss needs one prediction for each teacher, got {len(student_feats)} and '
                         f'{len(teacher_feats)}.')
    losses = [cosine_weight * cosine_feature_loss(s, t) + l1_weight * smooth_l1_feature_loss(s, t)
              for s, t in zip(student_feats, teacher_feats)]
    return torch.stack(losses).mean()


@DISTILLERS.register_module()
class FeatureRegression(Distiller):
    """FeatureRegression: cosine and smooth L1 to normalised features (Shang et al., CoRL 2024, arXiv:2407.20179).

    A connector turns the student's tap into the teacher's shape, between maps, tokens and vectors alike. Targets are
    normalised by the mean and the unbiased standard deviation of each channel over the training set (all positions).
    With several teachers, one entry of ``model.distillers`` each. Taps that are lists (``neck``, ``stages``) pair entry by
    entry, each pair with a connector of its own, and the terms are averaged over the pairs.

    Args:
        cosine_weight, l1_weight: of the two terms.
        reduction: of :func:`cosine_feature_loss`.
        beta: of :func:`smooth_l1_feature_loss`.
        normalize: whether targets are normalised; else no pass over the training set is made.
        student_feat, teacher_feat: taps (``final_map``, ``tokens``, ``pooled``, ``neck`` ...), both one tensor or both lists
            of one length.
        connector: config of CONNECTORS; the default is one linear map.
    """

    def __init__(self, cosine_weight: float = 0.9, l1_weight: float = 0.1, reduction: str = 'sample', beta: float = 1.0,
                 normalize: bool = True, student_feat: str = 'final_map', teacher_feat: str = 'final_map',
                 connector: dict | str = 'Projection'):
        super().__init__()
        if reduction not in ('sample', 'token'):
            raise ValueError(f"reduction is 'sample' or 'token', not {reduction!r}.")
        self.cosine_weight, self.l1_weight, self.reduction, self.beta = cosine_weight, l1_weight, reduction, beta
        self.normalize, self.student_feat, self.teacher_feat = normalize, student_feat, teacher_feat
        self.connector_config = connector
        self.needs = Needs(student=(student_feat,), teacher=(teacher_feat,))

    def build(self, shapes):
        student, teacher = shapes.student[self.student_feat], shapes.teacher[self.teacher_feat]
        counts = [None if isinstance(x, torch.Size) else len(x) for x in (student, teacher)]
        if counts[0] != counts[1] or counts[0] == 0:
            has = ['one tensor' if count is None else f'a list of {count}' for count in counts]
            raise ValueError(f"FeatureRegression pairs tensor with tensor, but the student's {self.student_feat!r} is {has[0]} "
                             f"and the teacher's {self.teacher_feat!r} {has[1]}: name one entry, such as stages.-1.")
        if counts[0] is None:
            self.connector = connect(student, teacher, self.connector_config)
            teacher = [teacher]
        else:
            self.connector = nn.ModuleList(connect(s, t, self.connector_config) for s, t in zip(student, teacher))
        self.channel_axes = [2 if len(shape) == 3 else 1 for shape in teacher]
        self.widths = [shape[axis] for shape, axis in zip(teacher, self.channel_axes)]
        self.register_buffer('teacher_mean', torch.zeros(sum(self.widths)))  # of all entries, one behind the other
        self.register_buffer('teacher_std', torch.ones(sum(self.widths)))

    def prepare(self, training_set):
        if not self.normalize:
            return
        values = training_set.cached(f'feature_regression.{self.teacher_feat}', lambda: self._statistics(training_set))
        self.teacher_mean.copy_(values['mean'])
        self.teacher_std.copy_(values['std'])

    def _statistics(self, training_set) -> dict[str, Tensor]:
        """Mean and unbiased standard deviation ``(D,)`` of each channel, in one pass, merged in float64."""
        counts, means, squares = ([0.0] * len(self.widths) for _ in range(3))
        for taps, _ in training_set.teacher_outputs((self.teacher_feat,)):
            for i, (x, axis) in enumerate(zip(as_levels(taps[self.teacher_feat]), self.channel_axes)):
                x = x.detach().movedim(axis, -1).flatten(0, -2).cpu().double()
                own = x.mean(0)
                delta, total = own - means[i], counts[i] + len(x)
                squares[i] = squares[i] + (x - own).square().sum(0) + delta.square() * (counts[i] * len(x) / total)
                means[i] = means[i] + delta * (len(x) / total)
                counts[i] = total
        if min(counts) < 2:
            raise ValueError('FeatureRegression normalises by the training set, which has fewer than two feature '
                             'vectors: set normalize=False.')
        std = torch.cat([(square / (count - 1)).sqrt() for square, count in zip(squares, counts)])
        return dict(mean=torch.cat(means).float(), std=torch.where(std > 0, std, torch.ones_like(std)).float())

    def forward(self, student, teacher, batch, progress):
        connectors = self.connector if isinstance(self.connector, nn.ModuleList) else [self.connector]
        cosine, l1 = [], []
        for connector, x, target, axis, mean, std in zip(
                connectors, as_levels(student[self.student_feat]), as_levels(teacher[self.teacher_feat]), self.channel_axes,
                self.teacher_mean.split(self.widths), self.teacher_std.split(self.widths)):
            if target.dim() == 4:  # images of detection differ in size from batch to batch
                connector.teacher_shape = (*connector.teacher_shape[:2], *target.shape[2:])
            predicted, target = connector(x), target.detach()
            shape = [1] * target.dim()
            shape[axis] = -1
            target = (target - mean.view(shape)) / std.view(shape)
            cosine.append(cosine_feature_loss(predicted, target, reduction=self.reduction))
            l1.append(smooth_l1_feature_loss(predicted, target, beta=self.beta))
        return dict(cosine=self.cosine_weight * torch.stack(cosine).mean(), smooth_l1=self.l1_weight * torch.stack(l1).mean())
