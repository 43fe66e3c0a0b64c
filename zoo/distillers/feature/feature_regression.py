"""Feature regression losses of foundation-model distillation.

Shang, Schmeckpeper, May, Minniti, Kelestemur, Watkins, Herlant: Theia: Distilling Diverse Vision Foundation Models for
Robot Learning. CoRL 2024, arXiv:2407.20179. Ranzinger, Heinrich, Kautz, Molchanov: AM-RADIO: Agglomerative Vision
Foundation Model -- Reduce All Domains Into One. CVPR 2024, arXiv:2312.06709.
Reference code: bdaiinstitute/theia@59d0448 (src/theia/models/rvfm.py, scripts/train/train_rvfm.py); the cosine per
token is the form of AM-RADIO, without reference code here.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.connectors import connect
from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

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
    With several teachers, one entry of ``model.distillers`` each.

    Args:
        cosine_weight, l1_weight: of the two terms.
        reduction: of :func:`cosine_feature_loss`.
        beta: of :func:`smooth_l1_feature_loss`.
        normalize: whether targets are normalised; else no pass over the training set is made.
        student_feat, teacher_feat: taps of one tensor each (``final_map``, ``tokens``, ``pooled`` ...).
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
        if isinstance(student, list) or isinstance(teacher, list):
            raise ValueError(f'FeatureRegression reads one tensor of each network: {self.student_feat!r} or '
                             f'{self.teacher_feat!r} is a list of them; name one, such as stages.-1.')
        self.connector = connect(student, teacher, self.connector_config)
        self.channel_axis = 2 if len(teacher) == 3 else 1
        channels = teacher[self.channel_axis]
        self.register_buffer('teacher_mean', torch.zeros(channels))
        self.register_buffer('teacher_std', torch.ones(channels))

    def prepare(self, training_set):
        if not self.normalize:
            return
        values = training_set.cached(f'feature_regression.{self.teacher_feat}', lambda: self._statistics(training_set))
        self.teacher_mean.copy_(values['mean'])
        self.teacher_std.copy_(values['std'])

    def _statistics(self, training_set) -> dict[str, Tensor]:
        """Mean and unbiased standard deviation ``(D,)`` of each channel, in one pass, merged in float64."""
        count, mean, squares = 0, 0.0, 0.0
        for taps, _ in training_set.teacher_outputs((self.teacher_feat,)):
            x = taps[self.teacher_feat].detach().movedim(self.channel_axis, -1).flatten(0, -2).cpu().double()
            own = x.mean(0)
            delta, total = own - mean, count + len(x)
            squares = squares + (x - own).square().sum(0) + delta.square() * (count * len(x) / total)
            mean = mean + delta * (len(x) / total)
            count = total
        if count < 2:
            raise ValueError('FeatureRegression normalises by the training set, which has fewer than two feature '
                             'vectors: set normalize=False.')
        std = (squares / (count - 1)).sqrt()
        return dict(mean=mean.float(), std=torch.where(std > 0, std, torch.ones_like(std)).float())

    def forward(self, student, teacher, batch, progress):
        predicted, target = self.connector(student[self.student_feat]), teacher[self.teacher_feat].detach()
        shape = [1] * target.dim()
        shape[self.channel_axis] = -1
        target = (target - self.teacher_mean.view(shape)) / self.teacher_std.view(shape)
        return dict(cosine=self.cosine_weight * cosine_feature_loss(predicted, target, reduction=self.reduction),
                    smooth_l1=self.l1_weight * smooth_l1_feature_loss(predicted, target, beta=self.beta))
