"""Dual-head knowledge distillation (DHKD).

Yang, Zong, Huang, Feng, An: Dual-Head Knowledge Distillation: Enhancing Logits Utilization with an Auxiliary Head.
KDD 2025, arXiv:2411.08937.
Reference code: penghui-yang/DHKD@7976c69 (distiller_zoo/BinaryKLNorm.py, BinaryKL.py, helper/optimizer.py).
"""
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models import AuxHead
from zoo.registry import DISTILLERS, unknown

from ..base import Distiller, Needs

__all__ = ['DHKD', 'binary_kl_loss', 'dhkd_loss', 'gradient_align']


def _clamped(logits: Tensor, eps: float) -> Tensor:
    """The argument of a sigmoid that is clamped to ``[eps, 1 - eps]``: in float32 ``1 - 1e-8`` itself would be 1."""
    limit = math.log((1 - eps) / eps)
    return logits.clamp(-limit, limit)


def dhkd_loss(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 2.0,
              eps: float = 1e-8) -> Tensor:
    """BinaryKL-Norm: ``T^2 / N * sum KL(Bernoulli(0.5) || Bernoulli(sigmoid((student - teacher) / T)))``.

    Zero where student and teacher are equal, near a squared error for small differences, an absolute one for large.

    Args:
        student_logits: ``(N, K)`` of the auxiliary head.
        teacher_logits: ``(N, K)``, detached.
        temperature: T.
        eps: the sigmoid is clamped to ``[eps, 1 - eps]``, without gradient outside.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    difference = _clamped((student_logits.to(dtype) - teacher_logits.detach().to(dtype)) / temperature, eps)
    element = -math.log(2) - 0.5 * (F.logsigmoid(difference) + F.logsigmoid(-difference))
    return temperature**2 * element.sum() / len(element)


def binary_kl_loss(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 2.0,
                   eps: float = 1e-8) -> Tensor:
    """BinaryKL: ``T^2 / N * sum KL(Bernoulli(sigmoid(teacher / T)) || Bernoulli(sigmoid(student / T)))``.

    Args:
        student_logits, teacher_logits, temperature, eps: as in :func:`dhkd_loss`; both sigmoids are clamped.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    student = _clamped(student_logits.to(dtype) / temperature, eps)
    teacher = _clamped(teacher_logits.detach().to(dtype) / temperature, eps)
    element = (teacher.sigmoid() * (F.logsigmoid(teacher) - F.logsigmoid(student))
               + (-teacher).sigmoid() * (F.logsigmoid(-teacher) - F.logsigmoid(-student)))
    return temperature**2 * element.sum() / len(element)


def gradient_align(cls_grad: Tensor, kd_grad: Tensor) -> Tensor:
    """``cls_grad + kd_grad``, where a ``kd_grad`` that opposes ``cls_grad`` first loses its part along it.

    One dot product for the whole network: both are flat vectors ``(P,)`` over all trainable parameters, with zeros
    where a loss does not reach. ``cls_grad`` is never altered.
    """
    dot = cls_grad @ kd_grad
    scale = torch.where(dot < 0, dot / (cls_grad @ cls_grad), torch.zeros_like(dot))
    return cls_grad + kd_grad - scale * cls_grad


@DISTILLERS.register_module()
class DHKD(Distiller):
    """DHKD: the distillation loss acts on a second head, dropped later (Yang et al., KDD 2025, arXiv:2411.08937).

    The main head learns from the labels alone (``task.loss_weight``, the paper's gamma); alpha is the outer ``weight``.
    A batch of one sample cannot pass the nonlinear head's BatchNorm in training: its term is zero.

    Args:
        temperature, eps: see :func:`dhkd_loss`.
        head: ``nonlinear`` (:class:`zoo.models.AuxHead`; CIFAR-100) or ``linear`` (ImageNet).
        dropout: rate in the nonlinear head.
        align: project the distillation gradient off where it opposes the classification gradient (two backward passes
            a step); off for ImageNet.
        loss: ``norm`` (BinaryKL-Norm), or ``binary``, the paper's ablation.
    """
    needs = Needs(student=('pooled',), teacher=('logits',))
    losses = dict(norm=dhkd_loss, binary=binary_kl_loss)

    def __init__(self, temperature: float = 2.0, head: str = 'nonlinear', dropout: float = 0.1, align: bool = True,
                 loss: str = 'norm', eps: float = 1e-8):
        super().__init__()
        if head not in ('nonlinear', 'linear'):
            raise ValueError(unknown('DHKD head', head, ('nonlinear', 'linear')))
        if loss not in self.losses:
            raise ValueError(unknown('DHKD loss', loss, self.losses))
        if not 0 < eps < 0.5:
            raise ValueError(f'DHKD clamps sigmoids to [eps, 1 - eps], 0 < eps < 0.5; got {eps}.')
        self.temperature = temperature
        self.head = head
        self.dropout = dropout
        self.loss = loss
        self.eps = eps
        self.gradient_rule = gradient_align if align else None

    def build(self, shapes):
        width, num_classes = shapes.student['pooled'][-1], shapes.teacher['logits'][-1]
        if self.head == 'linear':
            self.aux_head = nn.Linear(width, num_classes)
        else:
            self.aux_head = AuxHead(width, num_classes, p=self.dropout)

    def forward(self, student, teacher, batch, progress):
        pooled = student['pooled']
        if len(pooled) == 1 and self.training and self.head == 'nonlinear':
            return dict(dhkd=0 * (pooled.sum() + sum(p.sum() for p in self.aux_head.parameters())))
        loss = self.losses[self.loss](self.aux_head(pooled), teacher['logits'], temperature=self.temperature,
                                      eps=self.eps)
        return dict(dhkd=loss)
