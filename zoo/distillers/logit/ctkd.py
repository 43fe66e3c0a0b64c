"""Curriculum temperature for knowledge distillation (CTKD).

Li, Li, Yang, Zhao, Song, Luo, Li, Yang: Curriculum Temperature for Knowledge Distillation. AAAI 2023,
arXiv:2211.16231.
Reference code: zhengli97/CTKD@7d52522. It holds the loss of the instance-wise form (README), not the network that
predicts the temperatures: that one is our reading of the paper.
"""
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.registry import DISTILLERS, unknown

from ..base import Distiller, Needs, hard_labels
from .dkd import dkd_loss

__all__ = ['CTKD', 'ctkd_instance_loss', 'ctkd_lambda', 'ctkd_loss', 'gradient_reversal']


def gradient_reversal(x: Tensor, lambda_: float | Tensor) -> Tensor:
    """``x`` itself, whose gradient is multiplied by ``lambda_``.

    Args:
        x: any shape, finite.
        lambda_: the factor as it stands, **negative** to reverse the gradient.
    """
    return x.detach() + lambda_ * (x - x.detach())


def ctkd_lambda(*, epoch: float, max_value: float = 0.0, min_value: float = -1.0, num_loops: int = 10,
                schedule: str = 'cosine') -> float:
    """The factor of :func:`gradient_reversal` in an epoch (counted from 1): from easy to hard.

    Args:
        epoch: from ``num_loops`` on, the value stays.
        max_value, min_value: ``cosine`` goes from max (epoch 0) to min; ``linear`` falls from 0 in steps of
            ``(max - min) / num_loops`` and ends one step early, as in the reference code.
        num_loops: epochs of the curriculum.
        schedule: ``cosine`` or ``linear``.

    Raises:
        ValueError: for another schedule.
    """
    if schedule == 'cosine':
        share = min(max(epoch, 0), num_loops) / num_loops
        return (math.cos(math.pi * share) + 1) / 2 * (max_value - min_value) + min_value
    if schedule == 'linear':
        return -min(epoch, num_loops - 1) * (max_value - min_value) / num_loops
    raise ValueError(unknown('CTKD schedule', schedule, ('cosine', 'linear')))


def _temperature(raw: Tensor, grl_lambda: float, t_start: float, t_range: float) -> Tensor:
    return t_start + t_range * torch.sigmoid(gradient_reversal(raw, grl_lambda))


def ctkd_loss(student_logits: Tensor, teacher_logits: Tensor, raw_temperature: Tensor, *, grl_lambda: float,
              t_start: float = 1.0, t_range: float = 20.0) -> Tensor:
    """``T^2 * mean_n KL(softmax(teacher / T) || softmax(student / T))`` with ``T = t_start + t_range * sigmoid(raw)``.

    Args:
        student_logits, teacher_logits: ``(N, K)``; the teacher is detached.
        raw_temperature: ``(1,)``; its gradient goes through both softmaxes and ``T^2``, times ``grl_lambda``.
        grl_lambda: see :func:`ctkd_lambda`; -1 lets T climb.
        t_start, t_range: T lies between ``t_start`` and ``t_start + t_range``.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    temperature = _temperature(raw_temperature.to(dtype).reshape(()), grl_lambda, t_start, t_range)
    log_q = F.log_softmax(student_logits.to(dtype) / temperature, dim=1)
    log_p = F.log_softmax(teacher_logits.detach().to(dtype) / temperature, dim=1)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(1).mean()


def ctkd_instance_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: Tensor) -> Tensor:
    """``mean_n T_n^2 sum_k p (log p - log q)``, ``p = softmax(teacher / T_n) + 1e-7``, ``q = softmax(student / T_n)``.

    Args:
        student_logits, teacher_logits: ``(N, K)``; the teacher is detached.
        temperature: ``(N, 1)`` or ``(N,)``, one a sample, with gradient.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    temperature = temperature.to(dtype).reshape(-1, 1)
    log_q = F.log_softmax(student_logits.to(dtype) / temperature, dim=1)
    p = F.softmax(teacher_logits.detach().to(dtype) / temperature, dim=1) + 1e-7
    return (temperature**2 * p * (p.log() - log_q)).sum(1).mean()


@DISTILLERS.register_module()
class CTKD(Distiller):
    """CTKD: a temperature learnt against the student, harder by the epoch (Li et al., AAAI 2023, arXiv:2211.16231).

    The temperature is a parameter of this distiller, in the student's optimiser, saved and resumed with it. Features
    are distilled beside it by further distillers. With ``base='kd'`` the paper's weights are 0.9 here and 0.1 for the
    cross-entropy on CIFAR-100; with ``base='dkd'`` 1 and 1.

    Args:
        base: ``kd``; ``instance``, where a two-layer network on both logit vectors predicts a temperature for each
            sample (the student's logits are detached on the way into it, so that only the network plays against the
            student); or ``dkd``, the same global temperature in :func:`dkd_loss`.
        t_start, t_range: range of the temperature.
        max_value, min_value, num_loops, schedule: see :func:`ctkd_lambda`; num_loops is 10 on CIFAR-100, 5 on ImageNet.
        alpha, beta: weights of the two parts of DKD.
        hidden_channels: width of the instance-wise network.
    """

    def __init__(self, base: str = 'kd', t_start: float = 1.0, t_range: float = 20.0, max_value: float = 0.0,
                 min_value: float = -1.0, num_loops: int = 10, schedule: str = 'cosine', alpha: float = 1.0,
                 beta: float = 2.0, hidden_channels: int = 64):
        super().__init__()
        if base not in ('kd', 'instance', 'dkd'):
            raise ValueError(unknown('CTKD base', base, ('kd', 'instance', 'dkd')))
        self.needs = Needs(student=('logits',), teacher=('logits',), labels=base == 'dkd')
        self.base = base
        self.t_start, self.t_range = t_start, t_range
        self.curriculum = dict(max_value=max_value, min_value=min_value, num_loops=num_loops, schedule=schedule)
        if num_loops < 1:
            raise ValueError(f"CTKD's curriculum needs num_loops of at least 1 epoch; got {num_loops}.")
        ctkd_lambda(epoch=1, **self.curriculum)  # an unknown schedule is said here, not in the first step
        self.alpha, self.beta = alpha, beta
        self.hidden_channels = hidden_channels
        if base != 'instance':
            self.raw_temperature = nn.Parameter(torch.ones(1))

    def build(self, shapes):
        if self.base == 'instance':
            last = nn.Linear(self.hidden_channels, 1)
            # Every sample starts at the temperature of the global form.
            nn.init.zeros_(last.weight)
            nn.init.ones_(last.bias)
            num_classes = shapes.student['logits'][-1]
            self.predictor = nn.Sequential(nn.Linear(2 * num_classes, self.hidden_channels), nn.ReLU(), last)

    def forward(self, student, teacher, batch, progress):
        student, teacher = student['logits'], teacher['logits']
        grl_lambda = ctkd_lambda(epoch=progress.epoch, **self.curriculum)
        if self.base == 'kd':
            return dict(ctkd=ctkd_loss(student, teacher, self.raw_temperature, grl_lambda=grl_lambda,
                                       t_start=self.t_start, t_range=self.t_range))
        if self.base == 'dkd':
            temperature = _temperature(self.raw_temperature.reshape(()), grl_lambda, self.t_start, self.t_range)
            return dict(ctkd=dkd_loss(student, teacher, hard_labels(batch, "CTKD with base='dkd'"),
                                      temperature=temperature, alpha=self.alpha, beta=self.beta))
        raw = self.predictor(torch.cat([student.detach(), teacher], 1))
        return dict(ctkd=ctkd_instance_loss(
            student, teacher, _temperature(raw, grl_lambda, self.t_start, self.t_range)))
