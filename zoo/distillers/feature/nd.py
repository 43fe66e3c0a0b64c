"""Feature norm and direction: the ND term of KD++, DKD++, DIST++ and ReviewKD++.

Wang, Cheng, Duan, Wang, Feng, Kong: Improving Knowledge Distillation via Regularizing Feature Norm and Direction.
arXiv:2305.17007, 2023.
Reference code: WangYZ1608/Knowledge-Distillation-via-ND@fc6f3f9.
"""
import torch
from torch import Tensor, nn

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs, hard_labels
from ..dense_heads import DenseHead, refuse_unlike

__all__ = ['ND', 'mix_centers', 'nd_loss']


def nd_loss(student_feat: Tensor, teacher_feat: Tensor, labels: Tensor | None = None,
            class_means: Tensor | None = None, *, centers: Tensor | None = None) -> Tensor:
    """One minus the student embedding's projection on its unit centre, over the larger of both embeddings' norms.

    The student's norm is not detached: where it is the larger (or equal) the term is one minus the cosine with the
    centre; elsewhere the teacher's norm is a constant and the student's norm grows. Half precision is computed in
    float32.

    Args:
        student_feat, teacher_feat: ``(N, D)`` embeddings, the classifier's input; the teacher's carry no gradient.
        labels: ``(N,)`` int64, which pick the centres from ``class_means``.
        class_means: ``(K, D)`` means of the teacher's embeddings over the training set. There is no eps: a zero mean,
            or a sample with two zero embeddings, gives NaN.
        centers: ``(N, D)`` a centre for each sample, in place of ``labels`` and ``class_means``
            (:func:`mix_centers`).

    Raises:
        ValueError: if widths differ, or neither centres nor labels with class means are given.
    """
    if centers is None:
        if labels is None or class_means is None:
            raise ValueError('nd_loss needs labels and class_means, or centers.')
        centers = class_means[labels]
    if not student_feat.shape == teacher_feat.shape == centers.shape:
        raise ValueError(f'nd_loss needs embeddings of one width: student {tuple(student_feat.shape)}, teacher '
                         f'{tuple(teacher_feat.shape)}, centres {tuple(centers.shape)}.')
    dtype = torch.promote_types(student_feat.dtype, torch.float32)
    student, teacher, centers = (x.to(dtype) for x in (student_feat, teacher_feat.detach(), centers.detach()))
    direction = centers / centers.norm(dim=1, keepdim=True)
    student_norm, teacher_norm = student.norm(dim=1), teacher.norm(dim=1)
    # torch.maximum would split the gradient where they are equal
    larger = torch.where(student_norm >= teacher_norm, student_norm, teacher_norm)
    return (1 - (student * direction).sum(1) / larger).mean()


def mix_centers(labels: Tensor, class_means: Tensor, *, lam: float | Tensor, smoothing: float) -> Tensor:
    """Centres of a batch that mixup or cutmix mixed with itself in reverse order.

    With label smoothing the reference spreads the rest of the weight over the batch's samples, not over the classes:
    ``c_n = on * C_n + off * sum_{j != n} C_j`` where ``C_n`` is the mean of sample n's class, ``off = smoothing / K``
    and ``on = 1 - smoothing + off``; then ``lam * c_n + (1 - lam) * c_{N-1-n}``.

    Args:
        labels: ``(N,)`` int64, hard, before mixing.
        class_means: ``(K, D)``.
        lam: share of the sample itself: a number, or ``(N,)`` one a sample.
        smoothing: label smoothing, from 0 to below 1.

    Returns:
        ``(N, D)``.
    """
    off = smoothing / len(class_means)
    means = class_means[labels]
    own = (1 - smoothing + off) * means + off * (means.sum(0, keepdim=True) - means)
    if isinstance(lam, Tensor):
        lam = lam.reshape(-1, 1)
    return lam * own + (1 - lam) * own.flip(0)


@DISTILLERS.register_module()
class ND(Distiller):
    """Norm and direction: long embeddings along the teacher's class means (Wang et al., 2023, arXiv:2305.17007).

    Beside KD it is KD++, beside DKD DKD++, and so on: two entries of ``distillers``. Where the widths differ the
    student's embedding goes through a trained BatchNorm, Dropout and Linear, which only this loss uses; a batch of one
    passes that BatchNorm by its running statistics. Batches that ``BatchPreprocessor(mixup=...)`` mixed with their own
    reverse take their centres from :func:`mix_centers`.

    Args:
        student_tap, teacher_tap: taps ``(N, D)`` of the embeddings.
        augment: take the class means under the training augmentation, in one pass, as the released script does.
        dropout: of the student's embedder.
        embedder_init: ``'cifar'`` (torch's default weight, bias 0) or ``'imagenet'`` (both normal, std 0.01).
        smoothing: the ``label_smoothing`` of the mixup; unused for hard labels.
        at_positives: for the dense head of a detector: the taps are lists over its levels, such as
            ``bbox_head.gfl_cls:input``, and are read where the student's head assigns an object, whose class is the label.
            That is our reading; the paper has classifiers alone.
    """

    def __init__(self, student_tap: str = 'pooled', teacher_tap: str = 'pooled', augment: bool = True,
                 dropout: float = 0.5, embedder_init: str = 'cifar', smoothing: float = 0.1, at_positives: bool = False):
        super().__init__()
        if embedder_init not in ('cifar', 'imagenet'):
            raise ValueError(f"ND: embedder_init is 'cifar' or 'imagenet', not {embedder_init!r}.")
        if not 0 <= smoothing < 1:
            raise ValueError(f'ND: smoothing lies from 0 to below 1, got {smoothing}.')
        self.student_tap, self.teacher_tap = student_tap, teacher_tap
        self.augment = augment
        self.dropout = dropout
        self.embedder_init = embedder_init
        self.smoothing = smoothing
        self.embedder: nn.Sequential | None = None
        self.at_positives = at_positives
        own = (student_tap, 'head.targets') if at_positives else (student_tap,)
        self.needs = Needs(student=own, teacher=(teacher_tap,), labels=not at_positives)
        self._means_checked = False

    def build(self, shapes):
        student, teacher = shapes.student[self.student_tap], shapes.teacher[self.teacher_tap]
        if shapes.num_classes is None:
            raise ValueError('ND needs a task with classes, whose means it takes.')
        if self.at_positives:
            self.head = DenseHead(shapes.student_net.module, 'ND', 'student')
            refuse_unlike(self.head, DenseHead(shapes.teacher_net.module, 'ND', 'teacher'), 'ND', shapes)
            levels = len(self.head.strides)
            if not all(isinstance(shape, list) and len(shape) == levels for shape in (student, teacher)):
                raise ValueError(f"ND: with at_positives taps are lists of the head's {levels} levels, such as "
                                 f'bbox_head.gfl_cls:input; {self.student_tap!r} or {self.teacher_tap!r} is not.')
            student, teacher = (torch.Size(shape[0][:2]) for shape in (student, teacher))
        if len(student) != 2 or len(teacher) != 2:
            raise ValueError(f"ND needs embeddings (N, D); the student's {self.student_tap!r} is {tuple(student)}, the "
                             f"teacher's {self.teacher_tap!r} {tuple(teacher)}: set student_tap and teacher_tap.")
        self.register_buffer('class_means', torch.zeros(shapes.num_classes, teacher[1]))
        if student[1] != teacher[1]:
            linear = nn.Linear(student[1], teacher[1])
            if self.embedder_init == 'imagenet':
                nn.init.normal_(linear.weight, std=0.01)
                nn.init.normal_(linear.bias, std=0.01)
            else:
                nn.init.zeros_(linear.bias)
            self.embedder = nn.Sequential(nn.BatchNorm1d(student[1]), nn.Dropout(self.dropout), linear)

    def prepare(self, training_set):
        key = f'class_means_{self.teacher_tap}_{"augmented" if self.augment else "plain"}'
        found = training_set.cached(key, lambda: dict(class_means=self._measure(training_set)))
        self.class_means.copy_(found['class_means'])

    def _measure(self, training_set) -> Tensor:
        """``(K, D)`` float32, what :func:`zoo.data.teacher_class_means` gives, without holding all embeddings."""
        num_classes, width = self.class_means.shape
        sums, counts = torch.zeros(num_classes, width, dtype=torch.float64), torch.zeros(num_classes)
        for taps, batch in training_set.teacher_outputs((self.teacher_tap,), augment=self.augment):
            if batch.labels is not None and batch.labels.dim() == 2:
                raise ValueError('ND: the training augmentation mixes images, which blurs the class means: '
                                 'set augment=False.')
            feats = taps[self.teacher_tap]
            if self.at_positives:
                targets = self.head.assign(feats, batch.extra['data_samples'])
                feats, labels = self.head.at_positives(feats, targets, width)
                labels = labels.cpu()
            else:
                labels = hard_labels(batch, 'ND').cpu()
            sums.index_add_(0, labels, feats.detach().cpu().double())
            counts += torch.bincount(labels, minlength=num_classes)
        if not counts.all():
            missing = (counts == 0).nonzero().flatten().tolist()
            raise ValueError(f'ND needs every class in the training set; {len(missing)} of {num_classes} have no '
                             f'sample: {missing[:10]}.')
        return (sums / counts[:, None]).float()

    def forward(self, student, teacher, batch, progress):
        if not self._means_checked:
            if (self.class_means.norm(dim=1) == 0).any():
                raise ValueError('ND: a class mean is zero; call prepare(training_set) before training, or take '
                                 'another teacher_tap if the teacher gives zeros.')
            self._means_checked = True
        feat, teacher_feat = student[self.student_tap], teacher[self.teacher_tap]
        if self.at_positives:
            targets = self.head.targets(student['head.targets'], len(feat[0]))
            feat, labels = self.head.at_positives(feat, targets, feat[0].shape[1])
            teacher_feat, _ = self.head.at_positives(teacher_feat, targets, self.class_means.shape[1])
            if not len(labels):
                return dict(nd=feat.sum())  # 0
            centers = self.class_means[labels]
        else:
            centers = self._centers(batch)
        if self.embedder is not None:
            self.embedder[0].train(self.training and len(feat) > 1)
            feat = self.embedder(feat)
        return dict(nd=nd_loss(feat, teacher_feat, centers=centers))

    def _centers(self, batch) -> Tensor:
        if batch.labels is None or batch.labels.dim() == 1:
            return self.class_means[hard_labels(batch, 'ND')]
        labels, shares = batch.hard_labels, batch.extra.get('mixup_lam')
        if labels is None or shares is None:
            raise ValueError('ND with mixed labels needs the labels before mixing (batch.hard_labels) and the shares '
                             "(batch.extra['mixup_lam']), which zoo's BatchPreprocessor(mixup=...) gives.")
        even = len(labels) // 2 * 2  # the last sample of an odd batch has no partner
        return torch.cat([mix_centers(labels[part], self.class_means, lam=shares[part], smoothing=self.smoothing)
                          for part in (slice(even), slice(even, None))])
