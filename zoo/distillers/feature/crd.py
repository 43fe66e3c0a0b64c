"""Contrastive representation distillation.

Tian, Krishnan, Isola: Contrastive Representation Distillation. ICLR 2020, arXiv:1910.10699.
Equal to the authors' HobbitLong/RepDistiller@b84f547. Ours: the class draws the negatives (there the data set does),
gathers the banks' updates across processes, and writes no row that is not finite.
"""
import math

import torch
from mmengine import dist
from torch import Tensor, nn

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['CRD', 'crd_loss', 'crd_update_memory']


def _scores(anchor: Tensor, memory: Tensor, contrast_indices: Tensor, temperature: float) -> Tensor:
    """``exp(memory[contrast_indices] . anchor / temperature)``, ``(N, K+1)``."""
    # the whole product is far smaller than the gathered rows (N, K+1, D): a bank has fewer rows than (K+1) * D
    return ((anchor @ memory.detach().t()).gather(1, contrast_indices) / temperature).exp()


def _normaliser(scores: Tensor, rows: int) -> Tensor:
    """The constant Z: mean score times the rows of the bank."""
    return scores.detach().mean() * rows


def _nce(scores: Tensor, n_data: int) -> Tensor:
    """Noise-contrastive loss of normalised scores ``(N, K+1)``, column 0 the positive; negatives are summed."""
    eps = 1e-7
    noise = (scores.shape[1] - 1) / n_data
    positive, negatives = scores[:, 0], scores[:, 1:]
    log_positive = (positive / (positive + noise + eps)).log()
    log_negatives = (noise / (negatives + noise + eps)).log()
    return -(log_positive.sum() + log_negatives.sum()) / len(scores)


def crd_loss(student_feat: Tensor, teacher_feat: Tensor, indices: Tensor, contrast_indices: Tensor,
             memory_student: Tensor, memory_teacher: Tensor, z_student: Tensor, z_teacher: Tensor, *,
             temperature: float = 0.07, n_data: int) -> Tensor:
    """Noise-contrastive loss of each network's embeddings against the other's memory bank, summed.

    Args:
        student_feat, teacher_feat: ``(N, D)`` embeddings of L2 norm 1; both get gradients.
        indices: ``(N,)`` int64, positions in the data set; not used (see :func:`crd_update_memory`).
        contrast_indices: ``(N, K+1)`` int64 rows of the banks: the positive, then K negatives.
        memory_student, memory_teacher: ``(rows, D)`` banks, as they are before this step's update; constants.
        z_student, z_teacher: normalisers, 0-d; a negative one is not set yet, and comes from this batch.
        temperature: of the scores.
        n_data: size of the data set (the noise distribution is ``1 / n_data``).

    Raises:
        ValueError: if there is no negative, or ``n_data`` or the temperature is not positive.
    """
    if contrast_indices.dim() != 2 or contrast_indices.shape[1] < 2 or len(contrast_indices) != len(student_feat):
        raise ValueError(f'crd_loss needs contrast_indices (N, K+1), a positive and K >= 1 negatives for each of the '
                         f'{len(student_feat)} samples, and got the shape {tuple(contrast_indices.shape)}.')
    if n_data < 1 or temperature <= 0:
        raise ValueError(f'crd_loss needs n_data >= 1 and temperature > 0, and got {n_data} and {temperature}.')
    total = 0
    for anchor, memory, z in ((student_feat, memory_teacher, z_student), (teacher_feat, memory_student, z_teacher)):
        anchor, memory = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (anchor, memory))
        scores = _scores(anchor, memory, contrast_indices, temperature)
        z = torch.as_tensor(z, dtype=scores.dtype, device=scores.device).detach()
        total = total + _nce(scores / torch.where(z < 0, _normaliser(scores, len(memory)), z), n_data)
    return total


def _updated_rows(memory: Tensor, feat: Tensor, indices: Tensor, momentum: float) -> Tensor:
    """The new values ``(N, D)`` of the rows ``indices``."""
    old = memory[indices]
    mixed = momentum * old + (1 - momentum) * feat.to(memory.dtype)
    rows = mixed / mixed.norm(dim=1, keepdim=True)
    # a step that overflowed in half precision is skipped by the gradient scaler, but a bank would keep its NaN for ever
    rows = torch.where(rows.isfinite().all(1, keepdim=True), rows, old)
    # of several entries for one row the last wins, on every device
    order = torch.arange(len(indices), device=indices.device)
    return rows[((indices[:, None] == indices) * order).amax(1)] if len(indices) else rows


@torch.no_grad()
def crd_update_memory(memory: Tensor, feat: Tensor, indices: Tensor, *, momentum: float = 0.5) -> Tensor:
    """A new bank, whose rows ``indices`` are ``normalise(momentum * memory + (1 - momentum) * feat)``; no gradient.

    A row that would not be finite keeps its value. Where an index comes twice, its last entry counts.

    Args:
        memory: ``(rows, D)``.
        feat: ``(N, D)`` embeddings of L2 norm 1.
        indices: ``(N,)`` int64.
        momentum: share of the old row.
    """
    return memory.index_copy(0, indices, _updated_rows(memory, feat, indices, momentum))


def _gather(tensor: Tensor) -> Tensor:
    """Rows of all processes, in the order of their ranks, where their numbers may differ; no gradient."""
    if dist.get_world_size() == 1:
        return tensor
    sizes = dist.all_gather(torch.tensor([len(tensor)], device=tensor.device))
    padded = tensor.new_zeros(max(int(size) for size in sizes), *tensor.shape[1:])
    padded[:len(tensor)] = tensor
    return torch.cat([part[:int(size)] for part, size in zip(dist.all_gather(padded), sizes)])


class _Classes(nn.Module):
    """The samples' positions, sorted by class, for draws inside and outside of a sample's class.

    Args:
        labels: ``(n_data,)`` int64.
    """

    def __init__(self, labels: Tensor):
        super().__init__()
        _, classes, sizes = labels.unique(return_inverse=True, return_counts=True)
        self.register_buffer('classes', classes, persistent=False)
        self.register_buffer('order', classes.argsort(stable=True), persistent=False)
        self.register_buffer('sizes', sizes, persistent=False)
        self.register_buffer('starts', sizes.cumsum(0) - sizes, persistent=False)
        self.fewest_others = len(labels) - int(sizes.max())
        self.most_others = len(labels) - int(sizes.min())

    def _draw(self, starts: Tensor, lengths: Tensor, count: int) -> Tensor:
        """``(N, count)`` positions, with replacement, from ``lengths`` entries after ``starts`` in the ring."""
        offsets = (torch.rand(len(starts), count, device=starts.device) * lengths[:, None]).long()
        offsets = torch.minimum(offsets, lengths[:, None] - 1)
        return self.order[(starts[:, None] + offsets) % len(self.order)]

    def draw_positives(self, indices: Tensor) -> Tensor:
        """``(N, 1)`` random samples of the same class."""
        own = self.classes[indices]
        return self._draw(self.starts[own], self.sizes[own], 1)

    def draw_negatives(self, indices: Tensor, count: int) -> Tensor:
        """``(N, count)`` random samples of other classes, different ones where a sample has that many."""
        own = self.classes[indices]
        repeated = distinct = None
        if count > self.fewest_others:
            repeated = self._draw(self.starts[own] + self.sizes[own], len(self.order) - self.sizes[own], count)
        if count <= self.most_others:
            same = own[:, None] == self.classes
            keys = torch.rand(same.shape, device=own.device).masked_fill_(same, 2.0)
            distinct = keys.topk(count, dim=1, largest=False, sorted=False).indices
        if repeated is None or distinct is None:
            return distinct if repeated is None else repeated
        return torch.where((len(self.order) - self.sizes[own] >= count)[:, None], distinct, repeated)


class _Embedding(nn.Module):
    """Flatten, project linearly and divide by the L2 norm."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, feat: Tensor) -> Tensor:
        feat = self.linear(feat.flatten(1))
        return feat / feat.norm(dim=1, keepdim=True)


@DISTILLERS.register_module()
class CRD(Distiller):
    """CRD: contrast both networks' embeddings through memory banks (Tian et al., ICLR 2020, arXiv:1910.10699).

    The usual outer weight is 0.8 with 16384 negatives (which are summed). The embeddings, one for each network, are
    both trained. The banks (``memory_student``, ``memory_teacher``) and the normalisers (``z_student``, ``z_teacher``)
    are buffers, made in :meth:`prepare`, equal in all processes.

    Args:
        embedding_dim: D.
        num_negatives: K. Without replacement, unless a sample has fewer of other classes.
        temperature, momentum: of the scores, of the banks.
        mode: the positive: ``'exact'``, the image itself; ``'relax'``, a random one of its class.
        student_layer, teacher_layer: taps of the features; other shapes than ``(N, C)`` are flattened.

    In a data set without labels the negatives come from the whole set, with replacement.

    Raises:
        ValueError: for arguments out of range; from ``prepare`` for a data set with fewer than two samples, with labels
            that do not fit it, or of a single class; from ``forward`` without indices, or where they are outside of it.
    """
    same_classes = False

    def __init__(self, embedding_dim: int = 128, num_negatives: int = 16384, temperature: float = 0.07,
                 momentum: float = 0.5, mode: str = 'exact', student_layer: str = 'pooled',
                 teacher_layer: str = 'pooled'):
        super().__init__()
        if num_negatives < 1 or embedding_dim < 1:
            raise ValueError(f'CRD needs num_negatives >= 1 and embedding_dim >= 1, and got {num_negatives} and '
                             f'{embedding_dim}.')
        if temperature <= 0 or not 0 <= momentum < 1:
            raise ValueError(f'CRD needs temperature > 0 and 0 <= momentum < 1, and got {temperature} and {momentum}.')
        if mode not in ('exact', 'relax'):
            raise ValueError(f"CRD's mode is 'exact' or 'relax', not {mode!r}.")
        self.embedding_dim, self.num_negatives, self.mode = embedding_dim, num_negatives, mode
        self.temperature, self.momentum = temperature, momentum
        self.student_layer, self.teacher_layer = student_layer, teacher_layer
        self.needs = Needs(student=(student_layer,), teacher=(teacher_layer,), indices=True)
        self.classes: _Classes | None = None
        self.n_data = 0

    def build(self, shapes):
        self.student_embedding = _Embedding(math.prod(shapes.student[self.student_layer][1:]), self.embedding_dim)
        self.teacher_embedding = _Embedding(math.prod(shapes.teacher[self.teacher_layer][1:]), self.embedding_dim)

    def prepare(self, training_set):
        self.n_data, labels = training_set.num_samples, training_set.labels
        device = self.student_embedding.linear.weight.device
        if self.n_data < 2:
            raise ValueError(f'CRD contrasts the samples of a data set, and this one has {self.n_data}: use a larger '
                             'one.')
        if labels is not None and (labels.dim() != 1 or len(labels) != self.n_data):
            raise ValueError(f'CRD needs one hard label for each of the {self.n_data} samples, and got labels of the '
                             f'shape {tuple(labels.shape)}.')
        if labels is not None and int(labels.min()) == int(labels.max()):
            raise ValueError('CRD draws negatives from other classes, and this data set has a single class: use a set '
                             'with two or more, or one without labels (negatives from the whole set).')
        if labels is None and self.mode == 'relax':
            raise ValueError("CRD with mode='relax' needs labels, and this data set has none: use mode='exact'.")
        self.classes = None if labels is None else _Classes(labels.long().cpu()).to(device)
        bound = 1 / math.sqrt(self.embedding_dim / 3)
        for network in ('student', 'teacher'):
            bank = torch.empty(self.n_data, self.embedding_dim).uniform_(-bound, bound)
            dist.broadcast(bank)  # processes may have different seeds
            self.register_buffer(f'memory_{network}', bank.to(device))
            self.register_buffer(f'z_{network}', torch.tensor(-1.0, device=device))

    def contrast_indices(self, indices: Tensor) -> Tensor:
        """``(N, K+1)`` int64: a positive and K negatives for each of ``indices``, drawn by torch's generator."""
        if self.classes is None:
            negatives = torch.randint(self.n_data, (len(indices), self.num_negatives), device=indices.device)
        else:
            negatives = self.classes.draw_negatives(indices, self.num_negatives)
        positives = indices[:, None] if self.mode == 'exact' else self.classes.draw_positives(indices)
        return torch.cat([positives, negatives], 1)

    @torch.no_grad()
    def _set_normalisers(self, student_feat: Tensor, teacher_feat: Tensor, contrast_indices: Tensor) -> None:
        """Fix Z by the first batch, averaged over the processes."""
        for z, anchor, memory in ((self.z_student, student_feat, self.memory_teacher),
                                  (self.z_teacher, teacher_feat, self.memory_student)):
            value = _normaliser(_scores(anchor, memory, contrast_indices, self.temperature), self.n_data)
            dist.all_reduce(value, 'mean')
            z.copy_(torch.where(value.isfinite(), value, -1.0))

    @torch.no_grad()
    def _update_memories(self, student_feat: Tensor, teacher_feat: Tensor, indices: Tensor) -> None:
        """Update both banks with the embeddings of all processes."""
        indices = _gather(indices)
        for memory, feat in ((self.memory_student, student_feat), (self.memory_teacher, teacher_feat)):
            memory.index_copy_(0, indices, _updated_rows(memory, _gather(feat.detach()), indices, self.momentum))

    def forward(self, student, teacher, batch, progress):
        if not self.n_data:
            raise ValueError('CRD has no memory banks: call `prepare(training_set)` before the first step.')
        indices = batch.indices
        if indices is None:
            raise ValueError("CRD needs the samples' positions in the data set, and batch.indices is None: use a data "
                             'set that gives them.')
        if self.z_student < 0 and (int(indices.min()) < 0 or int(indices.max()) >= self.n_data):
            raise ValueError(f'CRD has banks of {self.n_data} rows, and this batch has indices from '
                             f'{int(indices.min())} to {int(indices.max())}: they are positions in the training set.')
        student_feat = self.student_embedding(student[self.student_layer])
        teacher_feat = self.teacher_embedding(teacher[self.teacher_layer])
        contrast_indices = self.contrast_indices(indices)
        if self.z_student < 0:
            self._set_normalisers(student_feat, teacher_feat, contrast_indices)
        # the backward pass keeps the banks as they are now, and the update below is in place: so it gets copies
        loss = crd_loss(student_feat, teacher_feat, indices, contrast_indices, self.memory_student.clone(),
                        self.memory_teacher.clone(), self.z_student, self.z_teacher, temperature=self.temperature,
                        n_data=self.n_data)
        if self.training:
            self._update_memories(student_feat, teacher_feat, indices)
        return {'crd': loss}
