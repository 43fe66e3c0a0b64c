"""Partial knowledge distillation: KD-pt, KD-sim, KD-topk.

Tang, Shivanna, Zhao, Lin, Singh, Chi, Jain: Understanding and Improving Knowledge Distillation. arXiv:2002.03532.
No reference code: our reading of the paper; the names of the hyper-parameters and the clamp in KD-sim are ours.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS, unknown

from ..base import Distiller, Needs, hard_labels

__all__ = ['KDTopK', 'kd_pt_targets', 'kd_sim_targets', 'kd_topk_targets', 'partial_kd_loss']


def _softened(logits: Tensor, temperature: float) -> Tensor:
    logits = logits.detach().to(torch.promote_types(logits.dtype, torch.float32))
    return F.softmax(logits / temperature, dim=1)


def kd_pt_targets(teacher_logits: Tensor, labels: Tensor, *, temperature: float = 1.0) -> Tensor:
    """KD-pt: the teacher's probability of the label, the rest spread evenly over the other classes.

    Args:
        teacher_logits: ``(N, K)``, K of at least 2.
        labels: ``(N,)`` int64.
        temperature: divides the logits.

    Returns:
        ``(N, K)``, a constant.
    """
    known = _softened(teacher_logits, temperature).gather(1, labels[:, None])
    flat = (1 - known) / (teacher_logits.shape[1] - 1)
    return flat.expand(teacher_logits.shape).scatter(1, labels[:, None], known)


def kd_topk_targets(teacher_logits: Tensor, *, k: int, temperature: float = 1.0) -> Tensor:
    """KD-topk: the k largest probabilities stay, the remaining mass is spread evenly over the other classes.

    Args:
        teacher_logits: ``(N, K)``; among equal probabilities the lower class index is taken first.
        k: from 1 to K (all: the plain softmax).
        temperature: divides the logits.

    Returns:
        ``(N, K)``, a constant.

    Raises:
        ValueError: if k is not between 1 and K.
    """
    num_classes = teacher_logits.shape[1]
    if not 1 <= k <= num_classes:
        raise ValueError(f'KD-topk keeps k between 1 and the number of classes, {num_classes}; got k = {k}.')
    probabilities = _softened(teacher_logits, temperature)
    if k == num_classes:
        return probabilities
    # topk() promises no order among equal values; a stable sort does.
    top = probabilities.argsort(dim=1, descending=True, stable=True)[:, :k]
    kept = probabilities.gather(1, top)
    flat = (1 - kept.sum(1, keepdim=True)).clamp(min=0) / (num_classes - k)
    return flat.expand(probabilities.shape).scatter(1, top, kept)


def kd_sim_targets(teacher_weight: Tensor, labels: Tensor, *, gamma: float = 0.3, temperature: float = 0.3) -> Tensor:
    """KD-sim: a softmax over the classes' similarity to the label, ``max(0, cos)^gamma``, in the teacher's classifier.

    Args:
        teacher_weight: ``(K, D)``, one row a class.
        labels: ``(N,)`` int64.
        gamma: power of the cosine; a negative cosine counts as 0.
        temperature: divides the powered cosines.

    Returns:
        ``(N, K)``, a constant.
    """
    weight = teacher_weight.detach().to(torch.promote_types(teacher_weight.dtype, torch.float32))
    weight = weight / weight.norm(dim=1, keepdim=True)
    similarity = (weight[labels] @ weight.T).clamp(min=0) ** gamma
    return F.softmax(similarity / temperature, dim=1)


def partial_kd_loss(student_logits: Tensor, labels: Tensor, targets: Tensor, *, temperature: float = 1.0,
                    alpha: float = 0.5) -> Tensor:
    """``(1 - alpha) * CE(student, labels) + alpha * T^2 * mean_n -sum_k target log softmax(student / T)``.

    Args:
        student_logits: ``(N, K)``.
        labels: ``(N,)`` int64.
        targets: ``(N, K)``, constants; their entropy is not subtracted.
        temperature: T of the soft term; the hard one is at 1.
        alpha: share of the soft term.
    """
    student = student_logits.to(torch.promote_types(student_logits.dtype, torch.float32))
    soft = -(targets.detach() * F.log_softmax(student / temperature, dim=1)).sum(1).mean()
    return (1 - alpha) * F.cross_entropy(student, labels) + alpha * temperature**2 * soft


@DISTILLERS.register_module()
class KDTopK(Distiller):
    """Partial KD: targets that hold one effect of KD each (Tang et al., 2020, arXiv:2002.03532).

    The cross-entropy with the labels is inside: set ``task = dict(loss_weight=0.0)``.

    Args:
        target: ``topk`` (the k largest probabilities), ``pt`` (only the label's), ``sim`` (only class relations, from
            the teacher's classifier), or ``pt+sim``, the mean of both.
        k: classes kept by ``topk``; 10 to 25 % of the classes.
        temperature: of teacher and student.
        alpha: share of the soft term.
        sim_gamma, sim_temperature: see :func:`kd_sim_targets`.
    """
    targets = ('topk', 'pt', 'sim', 'pt+sim')

    def __init__(self, target: str = 'topk', k: int = 25, temperature: float = 4.0, alpha: float = 0.5,
                 sim_gamma: float = 0.3, sim_temperature: float = 0.3):
        super().__init__()
        if target not in self.targets:
            raise ValueError(unknown('KDTopK target', target, self.targets))
        self.needs = Needs(student=('logits',), teacher=() if target == 'sim' else ('logits',), labels=True)
        self.target = target
        self.k = k
        self.temperature = temperature
        self.alpha = alpha
        self.sim_gamma = sim_gamma
        self.sim_temperature = sim_temperature
        self._classifier = ()

    def build(self, shapes):
        num_classes = shapes.student['logits'][-1]
        if num_classes < 2:
            raise ValueError(f'KDTopK needs at least 2 classes, not {num_classes}.')
        if self.target == 'topk' and not 1 <= self.k <= num_classes:
            raise ValueError(f'KDTopK keeps k between 1 and the number of classes, {num_classes}; got k = {self.k}.')
        if 'sim' in self.target:
            classifier = getattr(shapes.teacher_net, 'classifier', None)
            if getattr(classifier, 'weight', None) is None or classifier.weight.shape[0] != num_classes:
                raise ValueError(f"KDTopK reads class similarities off the teacher's last linear layer over the "
                                 f"{num_classes} classes, and this teacher has none: use target='topk' or 'pt'.")
            self._classifier = (classifier,)  # a tuple: the layer stays the teacher's

    def forward(self, student, teacher, batch, progress):
        labels = hard_labels(batch, 'KDTopK')
        found = []
        if self.target == 'topk':
            found.append(kd_topk_targets(teacher['logits'], k=self.k, temperature=self.temperature))
        if self.target in ('pt', 'pt+sim'):
            found.append(kd_pt_targets(teacher['logits'], labels, temperature=self.temperature))
        if 'sim' in self.target:
            found.append(kd_sim_targets(self._classifier[0].weight, labels, gamma=self.sim_gamma,
                                        temperature=self.sim_temperature))
        targets = sum(found) / len(found)
        return dict(kd_topk=partial_kd_loss(student['logits'], labels, targets, temperature=self.temperature,
                                            alpha=self.alpha))
