"""Swing distillation: vague teaching where a sample may be private.

Li, Wu, Dong, Wu, Bian, Xiong: Swing Distillation: A Privacy-Preserving Knowledge Distillation Framework.
arXiv:2212.08349.
No reference code: our reading of the paper's abstract; its formulae are for the tokens of a language model, these are
an image form of them. No formal differential privacy.
"""
import os

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs, hard_labels

__all__ = ['Swing', 'swing_loss']


def swing_loss(student_logits: Tensor, teacher_logits: Tensor, privacy: Tensor, noise: Tensor, *, t_min: float = 1.0,
               t_max: float = 8.0, noise_scale: float = 0.05) -> Tensor:
    """``mean_n -T_n^2 sum_k p_k log softmax(student / T_n)_k``; private samples have a high T and a noisy target p.

    Since ``T_n^2`` grows too, private samples weigh more in the gradient; ``t_max = t_min`` takes the factor away.

    Args:
        student_logits, teacher_logits: ``(N, K)``; the target is detached.
        privacy: ``(N,)`` in [0, 1], 0 for public samples; ``T = t_min + (t_max - t_min) * privacy``.
        noise: ``(N, K)``, standard normal, drawn anew for each batch; enters the target times
            ``noise_scale * privacy``. What falls below 0 is cut and the target renormalised; one without any mass is
            left without noise.
        t_min, t_max: temperatures at privacy 0 and 1.
        noise_scale: standard deviation of the noise at privacy 1.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    privacy = privacy.detach().to(dtype).reshape(-1, 1)
    temperature = t_min + (t_max - t_min) * privacy
    with torch.no_grad():
        clean = F.softmax(teacher_logits.to(dtype) / temperature, dim=1)
        noisy = (clean + noise_scale * privacy * noise.to(dtype)).clamp(min=0)
        mass = noisy.sum(1, keepdim=True)
        target = torch.where((privacy > 0) & (mass > 0), noisy / mass, clean)
    log_q = F.log_softmax(student_logits.to(dtype) / temperature, dim=1)
    return -(temperature**2 * target * log_q).sum(1).mean()


@DISTILLERS.register_module()
class Swing(Distiller):
    """Swing: higher temperature and noisy targets for private samples (Li et al., 2022, arXiv:2212.08349).

    Args:
        privacy: where a sample's score in [0, 1] comes from. A number: the same for all. ``membership``: the teacher's
            probability of the label, the score of a confidence-threshold membership attack. A path to a ``.npy`` file:
            ``(num_samples,)``, by the sample's position in the training set. Any other string: the field of
            ``batch.extra`` that holds ``(N,)``.
        t_min, t_max, noise_scale: see :func:`swing_loss`.
    """

    def __init__(self, privacy: float | str = 'privacy', t_min: float = 1.0, t_max: float = 8.0,
                 noise_scale: float = 0.05):
        super().__init__()
        if not isinstance(privacy, str) and not 0 <= privacy <= 1:
            raise ValueError(f'Swing: a privacy score lies in [0, 1]; got {privacy}.')
        if not 0 < t_min <= t_max:
            raise ValueError(f'Swing needs 0 < t_min <= t_max; got {t_min} and {t_max}.')
        self.privacy = privacy
        self.t_min, self.t_max = t_min, t_max
        self.noise_scale = noise_scale
        table = isinstance(privacy, str) and privacy.endswith('.npy')
        self.needs = Needs(student=('logits',), teacher=('logits',), labels=privacy == 'membership', indices=table)
        self.register_buffer('scores', self._read(privacy) if table else None)

    @staticmethod
    def _read(path: str) -> Tensor:
        if not os.path.isfile(path):
            raise ValueError(f'Swing: there is no file {path!r} of privacy scores; privacy may also be a number, '
                             "'membership' or a field of batch.extra.")
        scores = torch.from_numpy(np.load(path, allow_pickle=False)).float()
        if scores.dim() != 1 or not bool(((scores >= 0) & (scores <= 1)).all()):
            raise ValueError(f'Swing: {path!r} must hold scores (num_samples,) in [0, 1]; it has shape '
                             f'{tuple(scores.shape)}, from {scores.min():g} to {scores.max():g}.')
        return scores

    def prepare(self, training_set):
        if self.scores is not None and len(self.scores) != training_set.num_samples:
            raise ValueError(f'Swing: {self.privacy!r} holds {len(self.scores)} privacy scores and the training set '
                             f'{training_set.num_samples} samples: give one score a sample.')

    def _scores(self, teacher_logits: Tensor, batch) -> Tensor:
        if not isinstance(self.privacy, str):
            return teacher_logits.new_full((len(teacher_logits),), self.privacy)
        if self.scores is not None:
            return self.scores[batch.indices]
        if self.privacy == 'membership':
            labels = hard_labels(batch, "Swing with privacy='membership'")
            return teacher_logits.softmax(1).gather(1, labels[:, None]).squeeze(1)
        if self.privacy not in batch.extra:
            raise ValueError(f'Swing reads privacy scores (N,) from batch.extra[{self.privacy!r}], and this data set '
                             f"gives {', '.join(batch.extra) or 'none'}: add the field, or set privacy to a number, "
                             "'membership' or a .npy file.")
        scores = torch.as_tensor(batch.extra[self.privacy], device=teacher_logits.device)
        if scores.shape != teacher_logits.shape[:1]:
            raise ValueError(f'Swing: batch.extra[{self.privacy!r}] must hold one score a sample, '
                             f'({len(teacher_logits)},); it has shape {tuple(scores.shape)}.')
        return scores

    def forward(self, student, teacher, batch, progress):
        teacher_logits = teacher['logits']
        return dict(swing=swing_loss(student['logits'], teacher_logits, self._scores(teacher_logits, batch),
                                     torch.randn_like(teacher_logits), t_min=self.t_min, t_max=self.t_max,
                                     noise_scale=self.noise_scale))
