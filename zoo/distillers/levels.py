"""Taps that are one map ``(N, C, H, W)`` or a list of them (the levels of a feature pyramid), paired level by level."""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['as_levels', 'channel_statistics', 'paired_levels', 'pool_to_smaller']


def as_levels(tap: Tensor | Sequence[Tensor], levels: Sequence[int] | None = None) -> list[Tensor]:
    """The maps of a tap: all of a list, or those at the positions ``levels``; one map is a list of one."""
    maps = list(tap) if isinstance(tap, (list, tuple)) else [tap]
    return maps if levels is None else [maps[i] for i in levels]


def paired_levels(shapes, student_tap: str, teacher_tap: str, method: str, *, levels: Sequence[int] | None = None,
                  same_size: bool = True) -> list[tuple[torch.Size, torch.Size]]:
    """Shapes ``(N, C, H, W)`` of the student's and the teacher's map at every level, from :class:`zoo.distillers.Shapes`.

    Args:
        method: the name that errors say.
        levels: positions in the lists; all by default.
        same_size: refuse pyramids whose strides differ; single maps may always differ in size.

    Raises:
        ValueError: if a tap holds no maps, a level does not exist, or the two sides do not pair.
    """
    sides = []
    for side, name in (('student', student_tap), ('teacher', teacher_tap)):
        found = getattr(shapes, side)[name]
        is_list = isinstance(found, (list, tuple)) and not isinstance(found, torch.Size)
        maps = list(found) if is_list else [found]
        if any(not isinstance(shape, torch.Size) or len(shape) != 4 for shape in maps):
            raise ValueError(f"{method} reads maps (N, C, H, W); the {side}'s tap {name!r} is {found}: name another tap, "
                             'such as neck.')
        wanted = range(len(maps)) if levels is None else levels
        missing = [i for i in wanted if not -len(maps) <= i < len(maps)]
        if missing:
            raise ValueError(f"{method}: levels={list(levels)} asks for level {missing[0]}, but the {side}'s tap {name!r} has "
                             f'{len(maps)}.')
        sides.append([maps[i] for i in wanted])
        single = not is_list
    student, teacher = sides
    if len(student) != len(teacher):
        raise ValueError(f"{method}: the student's tap {student_tap!r} has {len(student)} levels and the teacher's "
                         f'{teacher_tap!r} {len(teacher)}: set levels to positions that both have.')
    for i, (own, other) in enumerate(zip(student, teacher)):
        if same_size and not single and own[2:] != other[2:]:
            raise ValueError(f'{method} compares pyramids of the same strides: level {i} is {tuple(own[2:])} in the student '
                             f'and {tuple(other[2:])} in the teacher: name single levels that fit, or use PKD, which resizes.')
    return list(zip(student, teacher))


def pool_to_smaller(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps averaged to the smaller height and the smaller width of both; unchanged where these agree."""
    size = tuple(min(pair) for pair in zip(student.shape[2:], teacher.shape[2:]))
    return tuple(x if x.shape[2:] == size else F.adaptive_avg_pool2d(x, size) for x in (student, teacher))


def channel_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased standard deviation ``(1, C, 1, 1)`` of each channel of ``(N, C, H, W)`` over batch and positions.

    The deviation of a constant channel, or of a single value, is 0 with gradient 0.
    """
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = (x - mean).square().sum((0, 2, 3), keepdim=True) / max(x[:, 0].numel() - 1, 1)
    varies = variance > 0
    return mean, torch.where(varies, variance, 1).sqrt() * varies
