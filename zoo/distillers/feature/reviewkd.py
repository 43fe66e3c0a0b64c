"""ReviewKD.

Chen, Liu, Zhao, Jia: Distilling Knowledge via Knowledge Review. CVPR 2021, arXiv:2104.09044.
Reference code: dvlab-research/ReviewKD@cede6ea (CIFAR-100/model/reviewkd.py and the detection form), cross-read with
megvii-research/mdistiller@a08d46f.
"""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['AttentionFusion', 'ReviewKD', 'ReviewKDFusion', 'hcl_loss']

Size = int | tuple[int, int]


def _exact(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def hcl_loss(student_feats: list[Tensor], teacher_feats: list[Tensor]) -> Tensor:
    """Hierarchical context loss: mean squared errors of the maps and of their 4x4, 2x2 and 1x1 averages (section 3.4).

    The maps have weight 1 and each pooled size that is smaller than the map's height half the weight of the one before;
    the weights of a level are divided by their sum, and the levels are added.

    Args:
        student_feats, teacher_feats: maps ``(N, C_i, H_i, W_i)``, pairwise of one shape; the teacher's are detached.

    Raises:
        ValueError: if the lists differ in length or a pair in shape.
    """
    if len(student_feats) != len(teacher_feats):
        raise ValueError(f'hcl_loss compares lists of one length, got {len(student_feats)} and '
                         f'{len(teacher_feats)} maps.')
    loss = 0.0
    for student, teacher in zip(student_feats, teacher_feats):
        if student.shape != teacher.shape:
            raise ValueError(f'hcl_loss compares maps of one shape, got {tuple(student.shape)} and '
                             f'{tuple(teacher.shape)}.')
        student, teacher = _exact(student), _exact(teacher.detach())
        level, weight, total = F.mse_loss(student, teacher), 1.0, 1.0
        for size in (4, 2, 1):
            if size >= student.shape[2]:
                continue
            weight /= 2
            total += weight
            pooled = (F.adaptive_avg_pool2d(x, size) for x in (student, teacher))
            level = level + weight * F.mse_loss(*pooled)
        loss = loss + level / total
    return loss


class AttentionFusion(nn.Module):
    """Attention based fusion (ABF) of one student level with the residual of the deeper ones (section 3.3).

    Args:
        in_channels, mid_channels, out_channels: of the student's map, the residual and the teacher's map.
        fuse: False for the deepest level, which has no residual to take in.
    """

    def __init__(self, in_channels: int, mid_channels: int, out_channels: int, fuse: bool):
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(in_channels, mid_channels, 1, bias=False), nn.BatchNorm2d(mid_channels))
        self.conv2 = nn.Sequential(nn.Conv2d(mid_channels, out_channels, 3, padding=1, bias=False),
                                   nn.BatchNorm2d(out_channels))
        self.att_conv = nn.Sequential(nn.Conv2d(2 * mid_channels, 2, 1), nn.Sigmoid()) if fuse else None
        nn.init.kaiming_uniform_(self.conv1[0].weight, a=1)
        nn.init.kaiming_uniform_(self.conv2[0].weight, a=1)

    def forward(self, x: Tensor, residual: Tensor | None = None, size: Size | None = None,
                out_size: Size | None = None) -> tuple[Tensor, Tensor]:
        """``(N, in, H, W)`` to the level's output ``(N, out, *out_size)`` and the residual ``(N, mid, *out_size)``.

        Args:
            size: that the residual is resized to before fusion; ``x``'s own by default.
            out_size: an int stands for a square and is compared with the width alone; ``x``'s own by default.
        """
        x = self.conv1(x)
        if self.att_conv is not None:
            residual = F.interpolate(residual, size=x.shape[-2:] if size is None else size, mode='nearest')
            gate = self.att_conv(torch.cat([x, residual], dim=1))
            x = x * gate[:, 0:1] + residual * gate[:, 1:2]
        if out_size is not None:
            differs = x.shape[-1] != out_size if isinstance(out_size, int) else tuple(x.shape[-2:]) != tuple(out_size)
            if differs:
                x = F.interpolate(x, size=out_size, mode='nearest')
        return self.conv2(x), x


class ReviewKDFusion(nn.Module):
    """Student maps turned into the teacher's, from the deepest to the shallowest (Fig. 3).

    Args:
        in_channels, out_channels: of the student's and the teacher's maps, shallow to deep.
        mid_channels: of the residual that is passed on.
        shapes: sizes of the student's maps, DEEP to shallow, an int (square) or ``(H, W)`` each; None: the inputs' own.
        out_shapes: likewise of the teacher's maps; None: as ``shapes``.

    Raises:
        ValueError: if the lists differ in length.
    """

    def __init__(self, in_channels: list[int], out_channels: list[int], mid_channels: int,
                 shapes: list[Size] | None = None, out_shapes: list[Size] | None = None):
        super().__init__()
        out_shapes = shapes if out_shapes is None else out_shapes
        count = len(in_channels)
        lists = dict(out_channels=out_channels, shapes=shapes, out_shapes=out_shapes)
        for name, values in lists.items():
            if values is not None and len(values) != count:
                raise ValueError(f'ReviewKDFusion has {count} levels (in_channels), but {name} has {len(values)} '
                                 'entries.')
        self.shapes = [None] * count if shapes is None else list(shapes)
        self.out_shapes = [None] * count if out_shapes is None else list(out_shapes)
        self.abfs = nn.ModuleList(AttentionFusion(in_channels[i], mid_channels, out_channels[i], fuse=i < count - 1)
                                  for i in reversed(range(count)))

    def forward(self, student_feats: list[Tensor]) -> list[Tensor]:
        """Maps ``(N, in_i, H_i, W_i)``, shallow to deep, to ``(N, out_i, *out_shape_i)`` in the same order."""
        if len(student_feats) != len(self.abfs):
            raise ValueError(f'ReviewKDFusion was built for {len(self.abfs)} maps and got {len(student_feats)}.')
        outputs, residual = [], None
        for abf, x, size, out_size in zip(self.abfs, reversed(student_feats), self.shapes, self.out_shapes):
            output, residual = abf(x, residual, size, out_size)
            outputs.insert(0, output)
        return outputs


@DISTILLERS.register_module()
class ReviewKD(Distiller):
    """ReviewKD: shallow teacher layers teach deep student layers too (Chen et al., CVPR 2021, arXiv:2104.09044).

    The first epoch has ``1 / warmup_epochs`` of the weight, as in mdistiller (0 in the authors' code). Where the
    networks differ in their number of stages, the deepest ones are compared. A batch of one image gives a zero term
    where the pooled features take part, for their BatchNorm needs two values.

    Args:
        warmup_epochs: the term's linear rise; 20 for CIFAR-100, 0 for ImageNet.
        mid_channels: of the residual; None: the smaller of 512 and the deepest student width.
        student_feats, teacher_feats: taps that are lists of maps; the teacher's before its ReLUs (a teacher that has no
            ``preact_stages``, such as MobileNetV2, takes ``stages``).
        student_pooled, teacher_pooled: taps of the 1x1 level; None for both leaves it out (detection).
    """

    def __init__(self, warmup_epochs: float = 20, mid_channels: int | None = None, student_feats: str = 'stages',
                 teacher_feats: str = 'preact_stages', student_pooled: str | None = 'pooled',
                 teacher_pooled: str | None = 'pooled'):
        super().__init__()
        if (student_pooled is None) != (teacher_pooled is None):
            raise ValueError('ReviewKD takes the pooled features of both networks or of neither: set student_pooled '
                             'and teacher_pooled, or both to None.')
        self.warmup_epochs, self.mid_channels = warmup_epochs, mid_channels
        self.student_names = [name for name in (student_feats, student_pooled) if name]
        self.teacher_names = [name for name in (teacher_feats, teacher_pooled) if name]
        self.needs = Needs(student=tuple(self.student_names), teacher=tuple(self.teacher_names))
        self.levels = 0

    def build(self, shapes):
        student = _sizes(shapes.student, self.student_names, 'student')
        teacher = _sizes(shapes.teacher, self.teacher_names, 'teacher')
        self.levels = min(len(student), len(teacher))
        student, teacher = student[-self.levels:], teacher[-self.levels:]
        in_channels, out_channels = [c for c, _ in student], [c for c, _ in teacher]
        self.fusion = ReviewKDFusion(
            in_channels, out_channels, self.mid_channels or min(512, in_channels[-1]),
            shapes=[size for _, size in reversed(student)], out_shapes=[size for _, size in reversed(teacher)])

    def forward(self, student, teacher, batch, progress):
        student = _maps(student, self.student_names)[-self.levels:]
        teacher = _maps(teacher, self.teacher_names)[-self.levels:]
        if self.training and len(student[-1]) == 1 and student[-1].shape[-2:] == (1, 1):
            return dict(reviewkd=sum(x.sum() for x in student) * 0.0)
        return dict(reviewkd=progress.warmup(self.warmup_epochs) * hcl_loss(self.fusion(student), teacher))


def _sizes(shapes: dict, names: list[str], side: str) -> list[tuple[int, tuple[int, int]]]:
    """``(channels, (H, W))`` of every level, shallow to deep."""
    levels = []
    for name in names:
        entry = shapes[name]
        for shape in entry if isinstance(entry, list) else [entry]:
            if len(shape) not in (2, 4):
                raise ValueError(f'ReviewKD reads maps (N, C, H, W) and pooled features (N, C); the {side}\'s {name!r} '
                                 f'is {tuple(shape)}: name a tap of maps.')
            levels.append((shape[1], tuple(shape[2:]) if len(shape) == 4 else (1, 1)))
    return levels


def _maps(taps: dict, names: list[str]) -> list[Tensor]:
    maps = []
    for name in names:
        entry = taps[name]
        maps += [x if x.dim() == 4 else x[:, :, None, None] for x in (entry if isinstance(entry, list) else [entry])]
    return maps
