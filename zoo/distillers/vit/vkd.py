"""V_kD: orthogonal projection and task-specific normalisation.

Miles, Elezi, Deng: V_kD: Improving Knowledge Distillation using Orthogonal Projections. CVPR 2024, arXiv:2403.06213.
Equal to roymiles/vkd@4b48050 (engine.py; vidt/methods/vidt/criterion.py for detection); whitening has no reference
code: our reading of the paper.
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from zoo.connectors import prefix_tokens
from zoo.registry import DISTILLERS

from ..base import Distiller, Needs
from ..logit.kd import kd_loss

__all__ = ['VKD', 'OrthogonalProjector', 'vkd_det_loss', 'vkd_loss']

NORMALIZE = ('layer_norm', 'standardize', 'whiten')


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _standardize(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0)


def _whiten(x: Tensor, eps: float) -> Tensor:
    x = x - x.mean(0)
    values, vectors = torch.linalg.eigh(x.T @ x / (len(x) - 1))
    return x @ (vectors * (values + eps).rsqrt()) @ vectors.T


def vkd_loss(student_feat: Tensor, teacher_feat: Tensor, *, normalize: str = 'layer_norm', eps: float = 1e-5) -> Tensor:
    """Smooth L1 (beta 1, the mean over all elements) to the normalised teacher.

    Args:
        student_feat: ``(N, D)``, projected already.
        teacher_feat: ``(N, D)``; no gradient flows into it.
        normalize: ``'layer_norm'`` (classification): the teacher's rows, biased variance; ``'standardize'`` (detection):
            the columns of both sides over the rows, by the unbiased standard deviation without eps, so that a constant
            column gives NaN; ``'whiten'`` (generation): ZCA of the teacher over the rows.
        eps: added to variances (``layer_norm``) or eigenvalues (``whiten``).

    Raises:
        ValueError: for unequal shapes, unknown normalisations, or a single row where columns are normalised.
    """
    if normalize not in NORMALIZE:
        raise ValueError(f'vkd_loss normalises by {", ".join(NORMALIZE)}, not {normalize!r}.')
    if student_feat.dim() != 2 or student_feat.shape != teacher_feat.shape:
        raise ValueError(f'vkd_loss compares features (N, D) of one shape, got {tuple(student_feat.shape)} and '
                         f'{tuple(teacher_feat.shape)}.')
    if normalize != 'layer_norm' and len(student_feat) < 2:
        raise ValueError(f'vkd_loss with normalize={normalize!r} takes statistics over the rows and needs two or more.')
    student, teacher = _at_least_float32(student_feat), _at_least_float32(teacher_feat.detach())
    if normalize == 'layer_norm':
        teacher = F.layer_norm(teacher, teacher.shape[1:], eps=eps)
    elif normalize == 'standardize':
        student, teacher = _standardize(student), _standardize(teacher)
    else:
        teacher = _whiten(teacher, eps)
    return F.smooth_l1_loss(student, teacher)


def vkd_det_loss(student_feats: Sequence[Tensor], teacher_feats: Sequence[Tensor]) -> Tensor:
    """The detector's loss: :func:`vkd_loss` with ``standardize``, summed over matching token matrices.

    Args:
        student_feats, teacher_feats: equally many ``(tokens of the whole batch, C)``: the scales of the feature pyramid,
            the body's and the neck's detection tokens.

    Raises:
        ValueError: for lists that are empty or differ in length.
    """
    if not student_feats or len(student_feats) != len(teacher_feats):
        raise ValueError(f'vkd_det_loss needs as many student as teacher features, got {len(student_feats)} and '
                         f'{len(teacher_feats)}.')
    return sum(vkd_loss(s, t, normalize='standardize') for s, t in zip(student_feats, teacher_feats))


class OrthogonalProjector(nn.Module):
    """A linear map with orthonormal columns (or rows, where it narrows), computed in float32 or better.

    Its parameters must have **no weight decay**: torch's Householder form reads the diagonal of ``original`` (-1) as an
    integer, so that the slightest decay of it makes the whole map 0.

    Args:
        in_dim, out_dim: widths of input and output.
        affine: a scale and a shift of the output.
    """

    def __init__(self, in_dim: int, out_dim: int, *, affine: bool = False):
        super().__init__()
        self.projector = parametrizations.orthogonal(nn.Linear(in_dim, out_dim, bias=False))
        if affine:
            self.scale = nn.Parameter(torch.ones(out_dim))
            self.shift = nn.Parameter(torch.zeros(out_dim))
        self.affine = affine

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in_dim)`` to ``(..., out_dim)``."""
        with torch.autocast(x.device.type, enabled=False):
            x = self.projector(_at_least_float32(x))
            return self.scale * x + self.shift if self.affine else x


def _mean_feature(x: Tensor, prefix: int) -> Tensor:
    """Map, tokens behind ``prefix`` others, or vector, as ``(N, D)``."""
    if x.dim() == 4:
        return x.mean((2, 3))
    return x[:, prefix:].mean(1) if x.dim() == 3 else x


@DISTILLERS.register_module()
class VKD(Distiller):
    """VKD: an orthogonal projector onto the normalised teacher's features (Miles et al., CVPR 2024, arXiv:2403.06213).

    Maps are averaged over positions, tokens over the patches. With a student of two classifiers (timm's
    ``deit_*_distilled_*``) set ``label_head='head', teacher_head='head_dist'`` and ``task.loss_weight=0``: then labels
    teach the one and the teacher the other, as in the paper. Otherwise the task's cross-entropy and the KL share the
    logits. With ``standardize`` or ``whiten`` a batch of one gives a feature term of zero.

    Args:
        normalize, eps: see :func:`vkd_loss`.
        feature_weight, kd_weight: of the feature term and of the KL to the teacher's logits (T = 1).
        affine: of :class:`OrthogonalProjector`.
        student_layer, teacher_layer: taps of the features; a transformer's are ``tokens``, a CNN's ``final_map``.
        label_head: tap of logits whose cross-entropy with the labels is a term; None leaves it to the task.
        teacher_head: tap of the logits that the KL reads.
        label_smoothing: of the cross-entropy of ``label_head``.

    Raises:
        ValueError: for unknown normalisations, or taps that are lists.
    """

    def __init__(self, normalize: str = 'layer_norm', eps: float = 1e-5, feature_weight: float = 1.0,
                 kd_weight: float = 1.0, affine: bool = False, student_layer: str = 'tokens',
                 teacher_layer: str = 'final_map', label_head: str | None = None, teacher_head: str = 'logits',
                 label_smoothing: float = 0.0):
        super().__init__()
        if normalize not in NORMALIZE:
            raise ValueError(f'VKD normalises by {", ".join(NORMALIZE)}, not {normalize!r}.')
        self.normalize, self.eps, self.affine = normalize, eps, affine
        self.feature_weight, self.kd_weight = feature_weight, kd_weight
        self.student_layer, self.teacher_layer = student_layer, teacher_layer
        self.label_head, self.teacher_head, self.label_smoothing = label_head, teacher_head, label_smoothing
        heads = ((teacher_head,) if kd_weight else ()) + ((label_head,) if label_head else ())
        self.needs = Needs(student=(student_layer, *dict.fromkeys(heads)),
                           teacher=(teacher_layer, 'logits') if kd_weight else (teacher_layer,), labels=bool(label_head))

    def build(self, shapes):
        student, teacher = shapes.student[self.student_layer], shapes.teacher[self.teacher_layer]
        for name, shape in ((self.student_layer, student), (self.teacher_layer, teacher)):
            if isinstance(shape, list) or len(shape) not in (2, 3, 4):
                raise ValueError(f'VKD reads a map (N, C, H, W), tokens (N, L, D) or a vector (N, D), and {name!r} is none: '
                                 'name one, such as tokens or final_map.')
        self.student_prefix, self.teacher_prefix = (
            getattr(net, 'num_prefix_tokens', 0) or (prefix_tokens(shape[1]) if len(shape) == 3 else 0)
            for net, shape in ((shapes.student_net, student), (shapes.teacher_net, teacher)))
        widths = (shape[2] if len(shape) == 3 else shape[1] for shape in (student, teacher))
        self.projector = OrthogonalProjector(*widths, affine=self.affine)

    def forward(self, student, teacher, batch, progress):
        feat = self.projector(_mean_feature(student[self.student_layer], self.student_prefix))
        target = _mean_feature(teacher[self.teacher_layer], self.teacher_prefix)
        if self.normalize != 'layer_norm' and len(feat) < 2:
            terms = dict(feature=0.0 * feat.sum())
        else:
            terms = dict(feature=self.feature_weight * vkd_loss(feat, target, normalize=self.normalize, eps=self.eps))
        if self.kd_weight:
            terms['kd'] = self.kd_weight * kd_loss(student[self.teacher_head], teacher['logits'], temperature=1.0)
        if self.label_head:
            terms['label'] = F.cross_entropy(student[self.label_head], batch.labels, label_smoothing=self.label_smoothing)
        return terms

    def param_groups(self):
        """Without weight decay, which would make a rectangular projector 0 (see :class:`OrthogonalProjector`)."""
        return [dict(params=list(self.projector.parameters()), decay_mult=0.0)]
