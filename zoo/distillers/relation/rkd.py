"""Relational knowledge distillation.

Park, Kim, Lu, Cho: Relational Knowledge Distillation. CVPR 2019, arXiv:1904.05068.
Equal to lenscloth/RKD@0a6c3c0; the combination to HobbitLong/RepDistiller@b84f547.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['RKD', 'hard_darkrank_loss', 'rkd_angle_loss', 'rkd_distance_loss', 'rkd_loss']


def _embeddings(student_feat: Tensor, teacher_feat: Tensor) -> tuple[Tensor, Tensor]:
    """Both as ``(N, D)`` in float32 or better."""
    if len(student_feat) != len(teacher_feat) or len(student_feat) < 2:
        raise ValueError(f'RKD relates the samples of one batch, and got {len(student_feat)} student and '
                         f'{len(teacher_feat)} teacher embeddings: give equally many, two or more.')
    return (student_feat.flatten(1).to(torch.promote_types(student_feat.dtype, torch.float32)),
            teacher_feat.flatten(1).to(torch.promote_types(teacher_feat.dtype, torch.float32)))


def _pairwise_distance(feat: Tensor) -> Tensor:
    """Euclidean distances ``(N, N)`` of ``(N, D)``: at least 1e-6 off the diagonal, exactly 0 on it."""
    norms = feat.square().sum(1)
    squared = norms[:, None] + norms[None, :] - 2 * feat @ feat.t()
    # the clamp also stops the gradient where the root's derivative has no bound
    distance = squared.clamp(min=1e-12).sqrt()
    return distance.masked_fill(torch.eye(len(feat), dtype=torch.bool, device=feat.device), 0)


def _mean_distance(distance: Tensor) -> Tensor:
    """Mean of the strictly positive entries, which are all those off the diagonal."""
    return distance.sum() / (len(distance) * (len(distance) - 1))


def rkd_distance_loss(student_feat: Tensor, teacher_feat: Tensor) -> Tensor:
    """Smooth L1 between the pairwise distances, each divided by its batch's mean.

    Args:
        student_feat, teacher_feat: ``(N, ...)``, flattened to embeddings whose dimensions may differ; ``N >= 2``.

    Raises:
        ValueError: for fewer than two samples, or different numbers of them.
    """
    student_feat, teacher_feat = _embeddings(student_feat, teacher_feat)
    with torch.no_grad():
        teacher = _pairwise_distance(teacher_feat)
        teacher = teacher / _mean_distance(teacher)
    student = _pairwise_distance(student_feat)
    return F.smooth_l1_loss(student / _mean_distance(student), teacher)


def _angles(feat: Tensor) -> Tensor:
    """Cosines ``(N, N, N)``: entry ``[i, j, k]`` is that of the angle at vertex i between j and k."""
    directions = F.normalize(feat[None, :, :] - feat[:, None, :], dim=2, eps=1e-12)
    return directions @ directions.transpose(1, 2)


def rkd_angle_loss(student_feat: Tensor, teacher_feat: Tensor) -> Tensor:
    """Smooth L1 between the cosines of all triplets' angles; ``N^3`` numbers.

    Args:
        student_feat, teacher_feat: ``(N, ...)``, flattened to embeddings whose dimensions may differ; angles tell
            something from ``N = 3`` on.

    Raises:
        ValueError: for fewer than two samples, or different numbers of them.
    """
    student_feat, teacher_feat = _embeddings(student_feat, teacher_feat)
    with torch.no_grad():
        teacher = _angles(teacher_feat)
    return F.smooth_l1_loss(_angles(student_feat), teacher)


def rkd_loss(student_feat: Tensor, teacher_feat: Tensor, *, distance_weight: float = 25,
             angle_weight: float = 50) -> Tensor:
    """``distance_weight * rkd_distance_loss + angle_weight * rkd_angle_loss``.

    Args:
        student_feat, teacher_feat: ``(N, ...)``, ``N >= 2``.
        distance_weight, angle_weight: factors of the two terms.
    """
    return (distance_weight * rkd_distance_loss(student_feat, teacher_feat)
            + angle_weight * rkd_angle_loss(student_feat, teacher_feat))


def hard_darkrank_loss(student_feat: Tensor, teacher_feat: Tensor, *, alpha: float = 3, beta: float = 3,
                       permute_len: int = 4) -> Tensor:
    """Negative log-likelihood, under the student, of the order of each sample's nearest neighbours under the teacher.

    The baseline Hard DarkRank (Chen et al., AAAI 2018, arXiv:1707.01220) as in lenscloth/RKD.

    Args:
        student_feat, teacher_feat: ``(N, ...)``, flattened.
        alpha, beta: scores are ``-alpha * distance ** beta``.
        permute_len: neighbours ranked, at most ``N - 1``.

    Raises:
        ValueError: if ``permute_len`` is not in 1..N-1.
    """
    student_feat, teacher_feat = _embeddings(student_feat, teacher_feat)
    if not 1 <= permute_len < len(student_feat):
        raise ValueError(f'hard_darkrank_loss ranks permute_len={permute_len} neighbours, and a batch of '
                         f'{len(student_feat)} has {len(student_feat) - 1}: use larger batches or a smaller number.')
    with torch.no_grad():
        teacher_scores = -alpha * _pairwise_distance(teacher_feat) ** beta
        nearest = teacher_scores.sort(dim=1, descending=True).indices[:, 1:permute_len + 1]
    # gathered before the power, whose derivative at the diagonal's 0 has no bound for beta < 1
    scores = -alpha * _pairwise_distance(student_feat).gather(1, nearest) ** beta
    return (scores.flip(1).logcumsumexp(1).flip(1) - scores).sum(1).mean()


@DISTILLERS.register_module()
class RKD(Distiller):
    """Relational KD: match the batch's distances and triplet angles (Park et al., CVPR 2019, arXiv:1904.05068).

    A batch of one gives a term of zero, as does DarkRank for a batch of at most ``darkrank_length``.

    Args:
        distance_weight, angle_weight: factors of the two terms; 25 and 50 for classification, 1 and 2 for metric
            learning (without a task loss).
        darkrank_weight: factor of the baseline Hard DarkRank; 0 leaves it out.
        darkrank_alpha, darkrank_beta, darkrank_length: see :func:`hard_darkrank_loss`.
        normalize_teacher: bring the teacher's embeddings to L2 norm 1 first (metric learning).
        student_layer, teacher_layer: taps of the embeddings; other shapes are flattened.
    """
    same_classes = False

    def __init__(self, distance_weight: float = 25.0, angle_weight: float = 50.0, darkrank_weight: float = 0.0,
                 darkrank_alpha: float = 3.0, darkrank_beta: float = 3.0, darkrank_length: int = 4,
                 normalize_teacher: bool = False, student_layer: str = 'pooled', teacher_layer: str = 'pooled'):
        super().__init__()
        if darkrank_length < 1:
            raise ValueError(f'RKD needs darkrank_length >= 1, and got {darkrank_length}.')
        self.distance_weight, self.angle_weight = distance_weight, angle_weight
        self.darkrank_weight, self.darkrank_length = darkrank_weight, darkrank_length
        self.darkrank_alpha, self.darkrank_beta = darkrank_alpha, darkrank_beta
        self.normalize_teacher = normalize_teacher
        self.student_layer, self.teacher_layer = student_layer, teacher_layer
        self.needs = Needs(student=(student_layer,), teacher=(teacher_layer,))

    def forward(self, student, teacher, batch, progress):
        student_feat, teacher_feat = student[self.student_layer], teacher[self.teacher_layer]
        count, zero = len(student_feat), 0.0 * student_feat.sum()
        if self.normalize_teacher:
            teacher_feat = F.normalize(teacher_feat.flatten(1), dim=1)
        terms = {}
        if self.distance_weight:
            terms['distance'] = self.distance_weight * (
                rkd_distance_loss(student_feat, teacher_feat) if count > 1 else zero)
        if self.angle_weight:
            terms['angle'] = self.angle_weight * (
                rkd_angle_loss(student_feat, teacher_feat) if count > 1 else zero)
        if self.darkrank_weight:
            terms['darkrank'] = self.darkrank_weight * (
                hard_darkrank_loss(student_feat, teacher_feat, alpha=self.darkrank_alpha, beta=self.darkrank_beta,
                                   permute_len=self.darkrank_length) if count > self.darkrank_length else zero)
        return terms
