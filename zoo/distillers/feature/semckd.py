"""SemCKD.

Chen, Mei, Zhang, Wang, Feng, Chen: Cross-Layer Distillation with Semantic Calibration. AAAI 2021, arXiv:2012.03236.
Reference code: DefangChen/SemCKD@ebe5db1 (models/util.py, distiller_zoo/SemCKD.py).
"""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['SemCKD', 'SemCKDDistiller', 'semckd_loss']


def semckd_loss(student_values: list[Tensor], teacher_values: list[Tensor], attention: Tensor) -> Tensor:
    """``1 / (N S) * sum_nij attention[n, i, j] * mse(student_values[i, j][n], teacher_values[i, j][n])`` (eq. 8).

    Args:
        student_values, teacher_values: flat lists of maps ``(N, C, H, W)``, index ``i * T + j`` for student layer i and
            teacher layer j.
        attention: ``(N, S, T)``.

    Raises:
        ValueError: if the lists do not have ``S * T`` entries.
    """
    samples, students, teachers = attention.shape
    if not len(student_values) == len(teacher_values) == students * teachers:
        raise ValueError(f'semckd_loss needs {students} x {teachers} pairs for this attention, got '
                         f'{len(student_values)} student and {len(teacher_values)} teacher maps.')

    def exact(x: Tensor) -> Tensor:
        return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x

    distances = [(exact(s) - exact(t)).square().flatten(1).mean(1) for s, t in zip(student_values, teacher_values)]
    distances = torch.stack(distances, dim=1).unflatten(1, (students, teachers))
    return (exact(attention) * distances).sum() / (samples * students)


class _Embed(nn.Module):
    """Rows of a similarity matrix ``(N, N)`` to unit vectors ``(N, d)``."""

    def __init__(self, batch_size: int, width: int):
        super().__init__()
        self.linear1 = nn.Linear(batch_size, 2 * width)
        self.linear2 = nn.Linear(2 * width, width)

    def forward(self, similarity: Tensor) -> Tensor:
        x = self.linear2(F.relu(self.linear1(similarity)))
        return x / x.norm(dim=1, keepdim=True)


class _Regressor(nn.Module):
    """A student map ``(N, C_s, H, W)`` to the teacher's channels."""

    def __init__(self, student_channels: int, teacher_channels: int):
        super().__init__()
        hidden = 2 * teacher_channels
        self.regressor = nn.Sequential(
            nn.Conv2d(student_channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(),
            nn.Conv2d(hidden, teacher_channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.regressor(x)


class SemCKD(nn.Module):
    """Attention over all pairs of student and teacher layers, from the similarities within a batch (eq. 4 to 7).

    Args:
        batch_size: N; the attention's layers have this input width, so every batch must be full.
        student_channels, teacher_channels: of the layers, shallow to deep.
        factor: the embeddings have ``N // factor`` entries.

    Raises:
        ValueError: if ``batch_size < factor``.
    """

    def __init__(self, batch_size: int, student_channels: list[int], teacher_channels: list[int], factor: int = 4):
        super().__init__()
        if batch_size < factor:
            raise ValueError(f'SemCKD embeds in batch_size // factor entries, and {batch_size} // {factor} is none: '
                             'raise batch_size or lower factor.')
        self.batch_size = batch_size
        self.num_student, self.num_teacher = len(student_channels), len(teacher_channels)
        width = batch_size // factor
        for j in range(self.num_teacher):
            setattr(self, f'key_weight{j}', _Embed(batch_size, width))
        for i, channels in enumerate(student_channels):
            setattr(self, f'query_weight{i}', _Embed(batch_size, width))
            for j, wanted in enumerate(teacher_channels):
                setattr(self, f'regressor{i}{j}', _Regressor(channels, wanted))

    def forward(self, student_feats: list[Tensor], teacher_feats: list[Tensor]) -> dict[str, Tensor]:
        """``loss`` (a scalar) and ``attention`` ``(N, S, T)`` of two lists of maps ``(N, C, H, W)``.

        Gradients flow through the attention as well. The teacher's maps are detached.

        Raises:
            ValueError: if the batch has not ``batch_size`` samples.
        """
        if len(student_feats[0]) != self.batch_size:
            raise ValueError(f'SemCKD was built for batches of {self.batch_size} and got {len(student_feats[0])}: set '
                             'batch_size to the batch size of one process.')
        teacher_feats = [t.detach() for t in teacher_feats]
        keys = [getattr(self, f'key_weight{j}')(_similarity(t)) for j, t in enumerate(teacher_feats)]
        queries = [getattr(self, f'query_weight{i}')(_similarity(s)) for i, s in enumerate(student_feats)]
        attention = F.softmax(torch.stack(queries, dim=1) @ torch.stack(keys, dim=2), dim=-1)
        values, targets = [], []
        for i, student in enumerate(student_feats):
            for j, teacher in enumerate(teacher_feats):
                if student.shape[2] > teacher.shape[2]:
                    source, target = F.adaptive_avg_pool2d(student, teacher.shape[2:]), teacher
                else:
                    source, target = student, F.adaptive_avg_pool2d(teacher, student.shape[2:])
                values.append(getattr(self, f'regressor{i}{j}')(source))
                targets.append(target)
        return dict(loss=semckd_loss(values, targets, attention), attention=attention)


def _similarity(feat: Tensor) -> Tensor:
    flat = feat.flatten(1)
    return flat @ flat.t()


@DISTILLERS.register_module(name='SemCKD')
class SemCKDDistiller(Distiller):
    """SemCKD: attention pairs the layers of teacher and student (Chen et al., AAAI 2021, arXiv:2012.03236).

    A batch that is smaller than ``batch_size`` (the last of an epoch) gives a zero term, as it is skipped in the
    authors' loop. The paper adds it, with weight 400 (CIFAR-100), to the cross-entropy and KD.

    Args:
        batch_size: of the training loader of one process.
        factor: the embeddings have ``batch_size // factor`` entries.
        student_feats, teacher_feats: taps that are lists of maps.
    """

    def __init__(self, batch_size: int = 64, factor: int = 4, student_feats: str = 'stages',
                 teacher_feats: str = 'stages'):
        super().__init__()
        self.batch_size, self.factor = batch_size, factor
        self.student_feats, self.teacher_feats = student_feats, teacher_feats
        self.needs = Needs(student=(student_feats,), teacher=(teacher_feats,))

    def build(self, shapes):
        channels = []
        for side, name, entry in (('student', self.student_feats, shapes.student[self.student_feats]),
                                  ('teacher', self.teacher_feats, shapes.teacher[self.teacher_feats])):
            if not isinstance(entry, list) or any(len(shape) != 4 for shape in entry):
                raise ValueError(f'SemCKD reads a list of maps (N, C, H, W); the {side}\'s tap {name!r} is {entry}: '
                                 'name a tap such as stages.')
            channels.append([shape[1] for shape in entry])
        self.calibration = SemCKD(self.batch_size, *channels, factor=self.factor)

    def forward(self, student, teacher, batch, progress):
        student, teacher = student[self.student_feats], teacher[self.teacher_feats]
        if len(student[0]) < self.batch_size:
            return dict(semckd=sum(x.sum() for x in student) * 0.0)
        return dict(semckd=self.calibration(student, teacher)['loss'])
