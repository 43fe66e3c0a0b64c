"""Temporally adaptive interpolated distillation (TAID).

Shing, Misaki, Bao, Yokoi, Akiba: TAID: Temporally Adaptive Interpolated Distillation for Efficient Knowledge Transfer
in Language Models. ICLR 2025, arXiv:2501.16937.
Reference code: SakanaAI/TAID@a062892 (src/distil_losses/taid.py).
"""
import torch
import torch.nn.functional as F
from mmengine import dist
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['TAID', 'taid_loss', 'taid_schedule']
NO_TABLE = 'the paper reports on language tasks'


def taid_loss(student_logits: Tensor, teacher_logits: Tensor, *, t: float | Tensor) -> Tensor:
    """``mean_n -sum_k target log q`` with ``target = softmax((1 - t) student + t teacher)``, a constant.

    Args:
        student_logits, teacher_logits: ``(N, K)``; **logits** are interpolated, the student's detached there.
        t: from 0 (the student's own distribution) to 1 (the teacher's), a number or a scalar tensor.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    student, teacher = student_logits.to(dtype), teacher_logits.detach().to(dtype)
    target = F.softmax((1 - t) * student.detach() + t * teacher, dim=1)
    return -(target * F.log_softmax(student, dim=1)).sum(1).mean()


def _advance(t: Tensor, previous: Tensor, momentum: Tensor, loss: Tensor, step: Tensor, *, t_start: float, t_end: float,
             alpha: float, beta: float, num_steps: int) -> tuple[Tensor, Tensor]:
    """t and momentum after a step whose loss was ``loss``; the first step (0) changes neither."""
    first = step == 0
    gain = (previous - loss) / (previous + 1e-15)
    moved = beta * momentum + (1 - beta) * gain
    line = t_start + (t_end - t_start) * step / num_steps
    raised = torch.maximum(t + alpha * torch.sigmoid(moved) * (1 - t), line.to(t)).clamp(max=t_end)
    return torch.where(first, t, raised), torch.where(first, momentum, moved)


def taid_schedule(losses: Tensor, *, t_start: float = 0.4, t_end: float = 1.0, alpha: float = 5e-4, beta: float = 0.99,
                  num_steps: int) -> Tensor:
    """The interpolation t after each update, ``(L,)``: it never falls and never lags behind the straight line.

    Args:
        losses: ``(L,)``, the loss of each training step from the first on.
        t_start, t_end: where t starts and ends.
        alpha: step size of the adaptive part.
        beta: momentum of the loss's relative change.
        num_steps: training steps after which the line reaches ``t_end``.
    """
    losses = losses.detach()
    t, momentum, previous = torch.full_like(losses[:1], t_start), torch.zeros_like(losses[:1]), losses[:1]
    values = []
    for step, loss in enumerate(losses.split(1)):
        t, momentum = _advance(t, previous, momentum, loss, torch.full_like(losses[:1], step), t_start=t_start,
                               t_end=t_end, alpha=alpha, beta=beta, num_steps=num_steps)
        previous = loss
        values.append(t)
    return torch.cat(values) if values else losses


@DISTILLERS.register_module()
class TAID(Distiller):
    """TAID: the target moves from the student to the teacher (Shing et al., ICLR 2025, arXiv:2501.16937).

    Args:
        t_start, t_end, alpha, beta: see :func:`taid_schedule`.
        num_steps: steps of the schedule; None: the iterations of the run.
        adaptive: False keeps t on the straight line.

    The schedule's state is in buffers, so a resumed run goes on where it stopped. With several processes t follows the
    mean of their losses.
    """
    needs = Needs(student=('logits',), teacher=('logits',))

    def __init__(self, t_start: float = 0.4, t_end: float = 1.0, alpha: float = 5e-4, beta: float = 0.99,
                 num_steps: int | None = None, adaptive: bool = True):
        super().__init__()
        if not 0 <= t_start <= t_end <= 1:
            raise ValueError(f'TAID moves t from t_start up to t_end within [0, 1]; got {t_start} and {t_end}.')
        if num_steps is not None and num_steps < 1:
            raise ValueError(f'TAID needs num_steps of at least 1, or None for the length of the run; got {num_steps}.')
        self.t_start, self.t_end, self.alpha, self.beta = t_start, t_end, alpha, beta
        self.num_steps = num_steps
        self.adaptive = adaptive
        self.register_buffer('t', torch.tensor(float(t_start)))
        self.register_buffer('previous_loss', torch.tensor(0.0))
        self.register_buffer('momentum', torch.tensor(0.0))
        self.register_buffer('step', torch.tensor(0))

    @torch.no_grad()
    def advance(self, loss: Tensor, num_steps: int) -> None:
        """Update the schedule after a step whose loss was ``loss`` (a scalar)."""
        loss = loss.detach().to(self.t)
        if dist.is_distributed():
            loss = loss.clone()
            dist.all_reduce(loss, 'mean')
        if self.adaptive:
            t, momentum = _advance(self.t, self.previous_loss, self.momentum, loss, self.step, t_start=self.t_start,
                                   t_end=self.t_end, alpha=self.alpha, beta=self.beta, num_steps=num_steps)
            self.momentum.copy_(momentum)
        else:
            t = (self.t_start + (self.t_end - self.t_start) * self.step / num_steps).clamp(max=self.t_end)
        self.t.copy_(t)
        self.previous_loss.copy_(loss)
        self.step += 1

    def forward(self, student, teacher, batch, progress):
        # A copy: the loss is differentiated after the buffer has moved on.
        loss = taid_loss(student['logits'], teacher['logits'], t=self.t.clone())
        if self.training:
            self.advance(loss, self.num_steps or progress.iterations)
        return dict(taid=loss)
