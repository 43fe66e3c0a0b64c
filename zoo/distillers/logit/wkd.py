"""Wasserstein knowledge distillation of logits (WKD-L) and features (WKD-F).

Lv, Yang, Li: Wasserstein Distance Rivals Kullback-Leibler Divergence for Knowledge Distillation. NeurIPS 2024,
arXiv:2412.08139.
Reference code: JiamingLv/WKD@214cf88 (mdistiller/distillers/WKD.py, tools/generate_cost_matrix.py).
"""
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs, Progress, hard_labels

__all__ = ['WKDF', 'WKDL', 'linear_cka_cost', 'sinkhorn_plan', 'wkd_feature_loss', 'wkd_logit_loss']


def _scalings(a: Tensor, b: Tensor, kernel: Tensor, u: Tensor, max_iter: int) -> tuple[Tensor, Tensor]:
    """Sinkhorn's scalings u, v ``(N, K)``; ``kernel`` is ``(N, K, K)``, or ``(K, K)`` for all samples."""
    v = torch.ones_like(b)
    for _ in range(max_iter):
        v = b / ((u[:, None] @ kernel).squeeze(1) + 1e-8)
        u = a / ((v[:, None] @ kernel.mT).squeeze(1) + 1e-8)
    return u, v


def sinkhorn_plan(a: Tensor, b: Tensor, cost: Tensor, *, reg: float = 0.05, max_iter: int = 10) -> Tensor:
    """Entropy-regularised transport plan ``(N, K, K)`` from a (rows, exact marginal) to b, differentiable throughout.

    Args:
        a, b: ``(N, K)`` probabilities.
        cost: ``(N, K, K)``.
        reg: entropy regularisation; the kernel is ``exp(-cost / reg)``.
        max_iter: iterations, v before u, from ``u = 1 / K``.
    """
    dtype = torch.promote_types(cost.dtype, torch.float32)  # entries of the kernel underflow in half precision
    a, b, cost = a.to(dtype), b.to(dtype), cost.to(dtype)
    kernel = (-cost / reg).exp()
    u, v = _scalings(a, b, kernel, torch.full_like(a, 1 / a.shape[1]), max_iter)
    return u[:, :, None] * kernel * v[:, None, :]


def _logit_terms(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, cost_matrix: Tensor,
                 temperature: float, sinkhorn_reg: float, sinkhorn_iters: int) -> tuple[Tensor, Tensor]:
    """The target part ``L_t`` and the transport cost ``L_w`` among the other classes, without weights."""
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    student, teacher = student_logits.to(dtype), teacher_logits.detach().to(dtype)
    if labels.dim() == 2:
        labels = labels.argmax(1)
    index = labels[:, None]
    target_loss = -(F.softmax(teacher, dim=1) * F.log_softmax(student, dim=1)).gather(1, index).mean()

    # The label is left out by giving it no mass (a, b and u are 0 there, so v and its plan are too) rather than by
    # cutting its row and column out of the cost: one (K, K) kernel serves the batch, where N of them would be needed.
    others = torch.ones_like(student, dtype=torch.bool).scatter(1, index, False)
    a = F.softmax((student / temperature).masked_fill(~others, -torch.inf), dim=1).float()
    b = F.softmax((teacher / temperature).masked_fill(~others, -torch.inf), dim=1).float()
    cost = cost_matrix.detach().float().relu() + 1e-8
    kernel = (-cost / sinkhorn_reg).exp()
    u, v = _scalings(a, b, kernel, others.float() / (student.shape[1] - 1), sinkhorn_iters)
    transport = (u * (v @ (kernel * cost).T)).sum(1).mean()
    return target_loss, transport


def wkd_logit_loss(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, cost_matrix: Tensor, *,
                   temperature: float, gamma: float, sinkhorn_reg: float = 0.05, sinkhorn_iters: int = 10) -> Tensor:
    """WKD-L: ``L_t + gamma * L_w``; no ``T^2``.

    ``L_t`` is the cross-entropy's term of the label alone, at temperature 1. ``L_w`` is the cost of carrying the
    student's distribution over the other classes to the teacher's, by :func:`sinkhorn_plan` (entropy not included); it
    is computed in float32.

    Args:
        student_logits, teacher_logits: ``(N, K)``; the teacher is detached.
        labels: ``(N,)`` int64, or ``(N, K)`` soft, of which the largest counts.
        cost_matrix: ``(K, K)``, for instance sharpened :func:`linear_cka_cost`.
        temperature: of the other classes' distributions.
        gamma: weight of ``L_w``.
        sinkhorn_reg, sinkhorn_iters: see :func:`sinkhorn_plan`.
    """
    target_loss, transport = _logit_terms(student_logits, teacher_logits, labels, cost_matrix, temperature,
                                          sinkhorn_reg, sinkhorn_iters)
    return target_loss + gamma * transport


def _windows(height: int, width: int, grid: int) -> list[tuple[slice, slice]]:
    """The ``grid * grid`` windows, from ``floor(i * size / grid)`` to ``ceil((i + 1) * size / grid)`` on each axis."""
    rows, columns = ([slice(i * size // grid, -(-(i + 1) * size // grid)) for i in range(grid)]
                     for size in (height, width))
    return [(row, column) for row in rows for column in columns]


def wkd_feature_loss(student_feat: Tensor, teacher_feat: Tensor, *, mean_cov_ratio: float = 2.0, eps: float = 1e-5,
                     grid: int = 1) -> Tensor:
    """WKD-F: Wasserstein distance of channel-wise Gaussians over the positions, summed over channels.

    ``mean_cov_ratio * mean_loss + cov_loss``, the squared differences of means and of deviations, averaged over samples
    and windows.

    Args:
        student_feat, teacher_feat: ``(N, C, H, W)``; the teacher is detached.
        mean_cov_ratio: weight of the means.
        eps: added to the unbiased variance inside the root.
        grid: windows on each axis; each must hold at least 2 positions.

    Raises:
        ValueError: for maps of different shapes, or a window of one position, whose variance is undefined.
    """
    if student_feat.shape != teacher_feat.shape:
        raise ValueError(f'wkd_feature_loss needs maps of one shape; got {tuple(student_feat.shape)} and '
                         f'{tuple(teacher_feat.shape)}.')
    dtype = torch.promote_types(student_feat.dtype, torch.float32)
    student, teacher = student_feat.to(dtype), teacher_feat.detach().to(dtype)
    mean_loss = cov_loss = 0
    for row, column in _windows(*student.shape[2:], grid):
        windows = [feat[:, :, row, column].flatten(2) for feat in (student, teacher)]
        if windows[0].shape[2] < 2:
            raise ValueError(f'wkd_feature_loss: a {grid}x{grid} grid on a map {tuple(student.shape[2:])} has windows '
                             'of one position, whose variance is undefined; use a smaller grid or a larger map.')
        (s_var, s_mean), (t_var, t_mean) = (torch.var_mean(window, dim=2) for window in windows)
        mean_loss = mean_loss + (s_mean - t_mean).square().sum()
        cov_loss = cov_loss + ((s_var + eps).sqrt() - (t_var + eps).sqrt()).square().sum()
    return (mean_cov_ratio * mean_loss + cov_loss) / (len(student) * grid**2)


def linear_cka_cost(class_features: Tensor) -> Tensor:
    """``1 - CKA_ij`` of the classes' centred features, ``(K, K)``.

    ``CKA_ij = ||F_j^T F_i||^2 / (||F_i^T F_i|| ||F_j^T F_j||)`` (Frobenius norms); 0 for a class whose features do not
    vary.

    Args:
        class_features: ``(K, n, D)``, the same number n of rows for each class.
    """
    features = class_features.to(torch.promote_types(class_features.dtype, torch.float32))
    features = features - features.mean(1, keepdim=True)
    num_classes, rows, width = features.shape
    if rows <= width:  # ||F_j^T F_i||^2 is also the inner product of two (n, n) Gram matrices, which is cheaper here
        gram = torch.stack([feature @ feature.T for feature in features]).flatten(1)
        cross = gram @ gram.T
    else:
        cross = features.new_empty(num_classes, num_classes)
        for i, feature in enumerate(features):
            for j in range(i + 1):
                cross[i, j] = cross[j, i] = (features[j].T @ feature).square().sum()
    norm = cross.diagonal().sqrt()
    scale = norm[:, None] * norm
    return 1 - torch.where(scale > 0, cross / scale, torch.zeros_like(scale))


def _decay(progress: Progress, start: int) -> float:
    """1 up to epoch ``start``, then half a cosine down to 0 in the last epoch."""
    if progress.epoch <= start or progress.epochs <= start:
        return 1.0
    share = min((progress.epoch - start) / (progress.epochs - start), 1.0)
    return (1 + math.cos(math.pi * share)) / 2


@DISTILLERS.register_module()
class WKDL(Distiller):
    """WKD-L: optimal transport over classes, cheap between similar ones (Lv et al., NeurIPS 2024, arXiv:2412.08139).

    Before training, the teacher's features of all training images give the cost matrix, kept in a buffer.

    Args:
        temperature, gamma: see :func:`wkd_logit_loss`; gamma is decayed, the target part is not.
        sinkhorn_reg, sinkhorn_iters: see :func:`sinkhorn_plan`.
        cost_tap: the teacher's tap that the class similarity is read from: ``final_map`` (every position a row;
            CIFAR-100), ``logits`` (ImageNet), or any other; ``classifier``: 1 - cosine of the rows of its last layer.
        sharpen: the cost C is turned into ``1 - exp(-sharpen * C)``.
        images_per_class: at most so many images of each class enter the cost; None: as many as the smallest class has.
        decay_start: the epoch after which gamma falls to 0 along a cosine (150 on CIFAR-100, 0 on ImageNet).
    """

    def __init__(self, temperature: float = 8.0, gamma: float = 600.0, sinkhorn_reg: float = 0.05,
                 sinkhorn_iters: int = 10, cost_tap: str = 'final_map', sharpen: float = 1.0,
                 images_per_class: int | None = None, decay_start: int = 150):
        super().__init__()
        if images_per_class is not None and images_per_class < 2:
            raise ValueError(f'WKDL needs at least 2 images a class for its cost matrix; got images_per_class='
                             f'{images_per_class}.')
        self.needs = Needs(student=('logits',), teacher=('logits',), labels=True)
        self.temperature = temperature
        self.gamma = gamma
        self.sinkhorn_reg, self.sinkhorn_iters = sinkhorn_reg, sinkhorn_iters
        self.cost_tap = cost_tap
        self.sharpen = sharpen
        self.images_per_class = images_per_class
        self.decay_start = decay_start
        self._classifier = ()

    def build(self, shapes):
        num_classes = shapes.teacher['logits'][-1]
        if num_classes < 3:
            raise ValueError(f'WKDL transports among the classes beside the label, so it needs at least 3, not '
                             f'{num_classes}.')
        if self.cost_tap == 'classifier':
            classifier = getattr(shapes.teacher_net, 'classifier', None)
            if getattr(classifier, 'weight', None) is None or classifier.weight.shape[0] != num_classes:
                raise ValueError("WKDL: cost_tap='classifier' reads the teacher's last linear layer, and this teacher "
                                 "has none: use cost_tap='logits'.")
            self._classifier = (classifier,)  # a tuple: the layer stays the teacher's
        self.register_buffer('cost_matrix', torch.zeros(num_classes, num_classes))

    def prepare(self, training_set):
        if self._classifier:
            weight = F.normalize(self._classifier[0].weight.detach().float(), dim=1)
            cost = 1 - weight @ weight.T
        else:
            count = self._images_per_class(training_set.labels)
            key = f'wkd_cost_{self.cost_tap}_{count}'
            cost = training_set.cached(key, lambda: dict(cost=self._measure(training_set, count)))['cost']
        self.cost_matrix.copy_(1 - torch.exp(-self.sharpen * cost.to(self.cost_matrix)))

    def _images_per_class(self, labels: Tensor | None) -> int:
        if labels is None:
            raise ValueError("WKDL needs a labelled training set for its cost matrix; use cost_tap='classifier', "
                             'or a method without labels (kd, ...).')
        counts = torch.bincount(labels, minlength=len(self.cost_matrix))
        smallest = int(counts.min())
        if smallest < 2:
            raise ValueError(f'WKDL needs at least 2 training images of every class for its cost matrix; class '
                             f"{int(counts.argmin())} has {smallest}. Use cost_tap='classifier' instead.")
        return min(smallest, self.images_per_class or smallest)

    def _measure(self, training_set, count: int) -> Tensor:
        """``(K, K)`` cost of the first ``count`` images of each class, in the order of the set."""
        num_classes, device = len(self.cost_matrix), self.cost_matrix.device
        features, filled = None, [0] * num_classes
        for taps, batch in training_set.teacher_outputs((self.cost_tap,)):
            rows = taps[self.cost_tap].float()
            rows = rows.flatten(2).mT if rows.dim() == 4 else rows.reshape(len(rows), -1, rows.shape[-1])
            if features is None:
                features = torch.empty(num_classes, count, *rows.shape[1:])
            for label, sample in zip(hard_labels(batch, 'WKDL').tolist(), rows.cpu()):
                if filled[label] < count:
                    features[label, filled[label]] = sample
                    filled[label] += 1
        if min(filled) < count:
            raise ValueError(f'WKDL found {min(filled)} images of class {filled.index(min(filled))} where the training '
                             f"set's labels promised {count}: its `labels` and its samples disagree.")
        return linear_cka_cost(features.flatten(1, 2).to(device)).cpu()

    def forward(self, student, teacher, batch, progress):
        soft = batch.labels is not None and batch.labels.dim() == 2
        labels = batch.labels if soft else hard_labels(batch, 'WKDL')
        target, transport = _logit_terms(student['logits'], teacher['logits'], labels, self.cost_matrix,
                                         self.temperature, self.sinkhorn_reg, self.sinkhorn_iters)
        return dict(target=target, logit=self.gamma * _decay(progress, self.decay_start) * transport)


@DISTILLERS.register_module()
class WKDF(Distiller):
    """WKD-F: means and deviations of the last map's channels (Lv et al., NeurIPS 2024, arXiv:2412.08139).

    The student's map passes a trainable projector. Maps of different sizes are average-pooled to the smaller one (the
    paper has equal sizes only). The paper's weights are the outer ``weight``.

    Args:
        mean_cov_ratio, eps, grid: see :func:`wkd_feature_loss`.
        student_tap, teacher_tap: maps ``(N, C, H, W)``; the paper's are the last stage's.
        hidden_channels: width of the projector.
        decay_start: the epoch after which the term falls to 0 along a cosine (150 on CIFAR-100, 0 or 30 on ImageNet).
    """

    def __init__(self, mean_cov_ratio: float = 4.0, grid: int = 1, eps: float = 1e-5,
                 student_tap: str = 'final_map', teacher_tap: str = 'final_map', hidden_channels: int = 256,
                 decay_start: int = 150):
        super().__init__()
        if grid < 1:
            raise ValueError(f'WKDF needs a grid of at least 1 window; got {grid}.')
        self.needs = Needs(student=(student_tap,), teacher=(teacher_tap,))
        self.mean_cov_ratio = mean_cov_ratio
        self.grid = grid
        self.eps = eps
        self.student_tap, self.teacher_tap = student_tap, teacher_tap
        self.hidden_channels = hidden_channels
        self.decay_start = decay_start

    def build(self, shapes):
        student, teacher = shapes.student[self.student_tap], shapes.teacher[self.teacher_tap]
        if len(student) != 4 or len(teacher) != 4:
            raise ValueError(f'WKDF needs maps (N, C, H, W); the tap {self.student_tap!r} of the student has shape '
                             f'{tuple(student)} and {self.teacher_tap!r} of the teacher {tuple(teacher)}.')
        self.size = [min(pair) for pair in zip(student[2:], teacher[2:])]
        smallest = min((row.stop - row.start) * (column.stop - column.start)
                       for row, column in _windows(*self.size, self.grid))
        if smallest < 2:
            raise ValueError(f'WKDF: a {self.grid}x{self.grid} grid on maps {tuple(self.size)} has windows of one '
                             'position, whose variance is undefined: use a smaller grid or an earlier tap.')
        hidden = self.hidden_channels
        self.projector = nn.Sequential(nn.Conv2d(student[1], hidden, 1), nn.Conv2d(hidden, hidden, 3, padding=1),
                                       nn.Conv2d(hidden, teacher[1], 1), nn.BatchNorm2d(teacher[1]), nn.ReLU())

    def forward(self, student, teacher, batch, progress):
        student = F.adaptive_avg_pool2d(self.projector(student[self.student_tap]), self.size)
        teacher = F.adaptive_avg_pool2d(teacher[self.teacher_tap], self.size)
        loss = wkd_feature_loss(student, teacher, mean_cov_ratio=self.mean_cov_ratio, eps=self.eps, grid=self.grid)
        return dict(feature=_decay(progress, self.decay_start) * loss)
