"""Masked generative distillation for classification.

Yang, Li, Shao, Shi, Yuan, Yuan: Masked Generative Distillation. ECCV 2022, arXiv:2205.01529.
Reference code: yzd-v/MGD@2c9da0b (cls/mmcls/distillation/losses/mgd.py), which masks channels; its detection form masks
positions and is :mod:`zoo.distillers.dense.mgd`.
"""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['MGDCls', 'MGDClsLoss']


class MGDClsLoss(nn.Module):
    """A generator that restores the teacher's map from the student's with some channels left out (section 3.1).

    Args:
        student_channels, teacher_channels: widths; where they differ, a 1x1 convolution ``align`` comes first.
        mask_ratio: the share of channels that is set to zero.

    Raises:
        ValueError: for a ratio outside 0 to 1.
    """

    def __init__(self, student_channels: int, teacher_channels: int, mask_ratio: float = 0.15):
        super().__init__()
        if not 0 <= mask_ratio <= 1:
            raise ValueError(f'mask_ratio is a share of the channels between 0 and 1, not {mask_ratio}.')
        self.mask_ratio = mask_ratio
        self.align = nn.Conv2d(student_channels, teacher_channels, 1) if student_channels != teacher_channels else None
        self.generation = nn.Sequential(nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1), nn.ReLU(),
                                        nn.Conv2d(teacher_channels, teacher_channels, 3, padding=1))

    def forward(self, student_feat: Tensor, teacher_feat: Tensor, mask_noise: Tensor) -> Tensor:
        """Squared error summed over channels and positions, averaged over the batch (eq. 2).

        Args:
            student_feat: ``(N, C_s, H, W)``.
            teacher_feat: ``(N, C_t, H, W)``, detached.
            mask_noise: ``(N, C_t, 1, 1)`` uniform in [0, 1), drawn anew at every step.
        """
        x = student_feat if self.align is None else self.align(student_feat)
        restored = self.generation(x * (mask_noise >= self.mask_ratio).to(x.dtype))
        teacher_feat = teacher_feat.detach()
        if restored.dtype in (torch.float16, torch.bfloat16):
            restored, teacher_feat = restored.float(), teacher_feat.float()
        return F.mse_loss(restored, teacher_feat, reduction='sum') / len(student_feat)


@DISTILLERS.register_module()
class MGDCls(Distiller):
    """MGDCls: restore the teacher's last map from masked student channels (Yang et al., ECCV 2022, arXiv:2205.01529).

    The loss is a sum over the map; the paper's weight is 7e-5 (ImageNet, 512 or 2048 channels of 7x7). Maps of unlike
    size are pooled to the smaller one.

    Args:
        mask_ratio: the share of channels that is set to zero.
        student_feat, teacher_feat: taps of one map each.
    """

    def __init__(self, mask_ratio: float = 0.15, student_feat: str = 'final_map', teacher_feat: str = 'final_map'):
        super().__init__()
        self.mask_ratio, self.student_feat, self.teacher_feat = mask_ratio, student_feat, teacher_feat
        self.needs = Needs(student=(student_feat,), teacher=(teacher_feat,))

    def build(self, shapes):
        student, teacher = shapes.student[self.student_feat], shapes.teacher[self.teacher_feat]
        for side, name, shape in (('student', self.student_feat, student), ('teacher', self.teacher_feat, teacher)):
            if isinstance(shape, list) or len(shape) != 4:
                raise ValueError(f'MGDCls reads one map (N, C, H, W); the {side}\'s tap {name!r} is {shape}: name '
                                 'another, such as stages.-1.')
        self.size = (min(student[2], teacher[2]), min(student[3], teacher[3]))
        self.loss = MGDClsLoss(student[1], teacher[1], self.mask_ratio)

    def forward(self, student, teacher, batch, progress):
        x, y = (feat if feat.shape[2:] == self.size else F.adaptive_avg_pool2d(feat, self.size)
                for feat in (student[self.student_feat], teacher[self.teacher_feat]))
        noise = torch.rand(len(y), y.shape[1], 1, 1, device=y.device)
        return dict(mgd_cls=self.loss(x, y, noise))
