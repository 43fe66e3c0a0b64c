"""FitNets: hints.

Romero, Ballas, Ebrahimi Kahou, Chassang, Gatta, Bengio: FitNets: Hints for Thin Deep Nets. ICLR 2015, arXiv:1412.6550.
The loss and the regressor are equal to HobbitLong/RepDistiller@b84f547 and megvii-research/mdistiller@a08d46f. The
two-stage form is our reading of the paper (the authors' code, adri-romsor/FitNets in Theano, was not used).
"""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['ConvRegressor', 'FitNets', 'hint_loss']


def hint_loss(student_feat: Tensor, teacher_feat: Tensor) -> Tensor:
    """Mean over all elements of the squared difference.

    Args:
        student_feat: ``(N, C, H, W)``, the regressor's output.
        teacher_feat: ``(N, C, H, W)``, the hint.

    Raises:
        ValueError: if the shapes differ.
    """
    if student_feat.shape != teacher_feat.shape:
        raise ValueError(f'hint_loss compares features of one shape, and got {tuple(student_feat.shape)} and '
                         f'{tuple(teacher_feat.shape)}: map the student to the teacher by ConvRegressor first.')
    return F.mse_loss(student_feat.to(torch.promote_types(student_feat.dtype, torch.float32)),
                      teacher_feat.to(torch.promote_types(teacher_feat.dtype, torch.float32)))


class ConvRegressor(nn.Module):
    """One convolution, batch norm and ReLU that map a student's map to the shape of a teacher's.

    The heights choose the convolution: 3x3 with stride 2 where the student's map is twice as high, a transposed 4x4
    with stride 2 where it is half as high, else one without padding whose kernel makes up the difference.

    Args:
        student_shape, teacher_shape: ``(N, C, H, W)``; N is ignored.
        use_relu: end in a ReLU; right for targets that are not negative.

    Raises:
        ValueError: if a shape is not that of a map, or no such convolution fits the sizes.
    """

    def __init__(self, student_shape, teacher_shape, use_relu: bool = True):
        super().__init__()
        if len(student_shape) != 4 or len(teacher_shape) != 4:
            raise ValueError(f'ConvRegressor maps feature maps (N, C, H, W), and got the shapes {tuple(student_shape)} '
                             f'and {tuple(teacher_shape)}: choose taps that are maps.')
        (_, student_channels, height, width), (_, channels, to_height, to_width) = student_shape, teacher_shape
        if height == 2 * to_height:
            self.conv = nn.Conv2d(student_channels, channels, 3, stride=2, padding=1)
            fits = (width + 1) // 2 == to_width
        elif 2 * height == to_height:
            self.conv = nn.ConvTranspose2d(student_channels, channels, 4, stride=2, padding=1)
            fits = 2 * width == to_width
        else:
            fits = height >= to_height and width >= to_width
            if fits:
                self.conv = nn.Conv2d(student_channels, channels, (1 + height - to_height, 1 + width - to_width))
        if not fits:
            raise ValueError(f'ConvRegressor cannot map a student map of size {height}x{width} to a teacher map of '
                             f"size {to_height}x{to_width}: choose layers where the student's map is as large, larger, "
                             'or exactly half as large.')
        self.bn = nn.BatchNorm2d(channels)
        self.use_relu = use_relu

    def forward(self, student_feat: Tensor) -> Tensor:
        """``(N, Cs, Hs, Ws)`` to ``(N, Ct, Ht, Wt)``."""
        feat = self.bn(self.conv(student_feat))
        return F.relu(feat) if self.use_relu else feat


@DISTILLERS.register_module()
class FitNets(Distiller):
    """FitNets: regress a teacher's hidden layer from one of the student (Romero et al., ICLR 2015, arXiv:1412.6550).

    Joint form (``stage_one_epochs=0``, all later code bases): the hint beside the task loss from the first step; the
    usual outer weight is 100. Two-stage form (paper): up to and including epoch ``stage_one_epochs`` the hint alone
    is learnt, and the layers above it stay as they are; afterwards the hint is dropped and the student learns from the
    labels and ``lambda`` times the cross-entropy with the teacher's tempered distribution, ``lambda`` falling linearly
    over the epochs from ``kd_weight_start`` to ``kd_weight_end``. The outer weight multiplies both stages:
    leave it at 1 and set ``hint_weight``. Other distillers beside it are not held back in the first stage. With several
    processes the first stage needs ``find_unused_parameters=True``.

    Args:
        student_layer, teacher_layer: taps of the guided and the hint layer (maps); the second stage by default.
        use_relu: of the regressor; set False where the teacher's map can be negative.
        hint_weight: factor of the hint. The paper's half squared norm of an image is the mean times C*H*W/2.
        stage_one_epochs: length of the first stage; 0 for the joint form.
        temperature: tau of the second stage.
        kd_weight_start, kd_weight_end: lambda in the first and the last epoch of the second stage.

    Raises:
        ValueError: if an argument is out of range; from ``build`` if no regressor fits the maps.
    """

    def __init__(self, student_layer: str = 'stages.1', teacher_layer: str = 'stages.1', use_relu: bool = True,
                 hint_weight: float = 1.0, stage_one_epochs: int = 0, temperature: float = 3.0,
                 kd_weight_start: float = 4.0, kd_weight_end: float = 1.0):
        super().__init__()
        if stage_one_epochs < 0 or temperature <= 0:
            raise ValueError(f'FitNets needs stage_one_epochs >= 0 and temperature > 0, and got {stage_one_epochs} and '
                             f'{temperature}.')
        self.student_layer, self.teacher_layer, self.use_relu = student_layer, teacher_layer, use_relu
        self.hint_weight, self.stage_one_epochs, self.temperature = hint_weight, stage_one_epochs, temperature
        self.kd_weight_start, self.kd_weight_end = kd_weight_start, kd_weight_end
        logits = ('logits',) if stage_one_epochs else ()
        self.needs = Needs(student=(student_layer, *logits), teacher=(teacher_layer, *logits))

    def build(self, shapes):
        self.regressor = ConvRegressor(shapes.student[self.student_layer], shapes.teacher[self.teacher_layer],
                                       self.use_relu)

    def task_weight(self, progress) -> float:
        """0 in the first stage."""
        return 0.0 if progress.epoch <= self.stage_one_epochs else 1.0

    def kd_weight(self, progress) -> float:
        """``lambda`` of the second stage at this epoch."""
        first = self.stage_one_epochs + 1
        share = (progress.epoch - first) / max(progress.epochs - first, 1)
        return self.kd_weight_start + (self.kd_weight_end - self.kd_weight_start) * min(share, 1.0)

    def forward(self, student, teacher, batch, progress):
        student_feat, teacher_feat = student[self.student_layer], teacher[self.teacher_layer]
        if self.stage_one_epochs and progress.epoch > self.stage_one_epochs:
            targets = (teacher['logits'] / self.temperature).softmax(1)
            kd = F.cross_entropy(student['logits'] / self.temperature, targets)
            return {'kd': self.kd_weight(progress) * kd, 'hint': self._unused()}
        if self.training and teacher_feat[:, 0].numel() == 1:
            # batch norm has no variance over a single value: one image with a map of one pixel
            return {'hint': self._unused() + 0.0 * student_feat.sum()}
        return {'hint': self.hint_weight * hint_loss(self.regressor(student_feat), teacher_feat)}

    def _unused(self) -> Tensor:
        """Zero, in a graph with the regressor: DistributedDataParallel wants every parameter in every step."""
        return 0.0 * sum(p.sum() for p in self.regressor.parameters())
