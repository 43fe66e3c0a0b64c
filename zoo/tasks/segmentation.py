"""Semantic segmentation with mmseg."""
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from zoo.registry import TASKS

from .dense import DenseTapReader, DenseTask

__all__ = ['Segmentation', 'SegmentorTapReader']

#: decode heads that return several maps in training -> which of them is the prediction
MAIN_OUTPUT = dict(EncHead=0, DAHead=0, DDRHead=0, PIDHead=1)


class SegmentorTapReader(DenseTapReader):
    """Taps of an mmseg segmentor.

    ``backbone``, ``neck`` (the backbone's maps where there is no neck), each also with a level's index; ``logits``
    ``(N, K, h, w)``: the output of the (last) decode head before it is resized; ``aux_logits``: of the first auxiliary head;
    ``decode_features`` ``(N, C, h, w)``: what the decode head's final classifier reads, before the head's dropout.
    """

    @property
    def decode_path(self) -> str:
        """The last decode head."""
        head = self.module.decode_head
        return f'decode_head.{len(head) - 1}' if isinstance(head, nn.ModuleList) else 'decode_head'

    @property
    def aux_path(self) -> str | None:
        """The first auxiliary head, or None."""
        head = getattr(self.module, 'auxiliary_head', None)
        if head is None:
            return None
        return 'auxiliary_head.0' if isinstance(head, nn.ModuleList) else 'auxiliary_head'

    def own_names(self) -> dict[str, str]:
        names = dict(super().own_names(), logits='decode')
        if hasattr(self.module.get_submodule(self.decode_path), 'cls_seg'):
            names['decode_features'] = 'decode'
        if self.aux_path is not None:
            names['aux_logits'] = self.aux_path
        return names

    def own_point(self, name: str) -> tuple[tuple[str, str], str, Callable | None]:
        if name in ('backbone', 'neck'):
            return super().own_point(name)
        if name == 'decode_features':
            return (self.decode_path, 'cls_seg'), 'input', lambda features: features
        path = self.decode_path if name == 'logits' else self.aux_path
        return (path, 'forward'), 'output', lambda output: self._logits(output, path)

    def _logits(self, output, path: str) -> Tensor:
        head = type(self.module.get_submodule(path)).__name__
        if isinstance(output, (list, tuple)) and head in MAIN_OUTPUT:
            output = output[MAIN_OUTPUT[head]]
        if not isinstance(output, Tensor) or output.dim() != 4:
            tap = 'logits' if path == self.decode_path else 'aux_logits'
            raise ValueError(f'{head} gives no map of logits (N, K, h, w), so that it has no tap {tap!r}; read backbone, neck '
                             'or a module path.')
        return output

    def part_of(self, path: str) -> str:
        parts = path.split('.')
        if parts[0] == 'decode_head':
            return 'decode'
        if parts[0] == 'auxiliary_head':
            many = isinstance(self.module.auxiliary_head, nn.ModuleList)
            return '.'.join(parts[:2]) if many and len(parts) > 1 else parts[0]
        return super().part_of(path)

    def run_to(self, parts: set[str], images: Tensor, data_samples: list | None) -> None:
        net = self.module
        if data_samples is not None and hasattr(net, 'with_labels'):  # a teacher that sees the ground truth
            images = net.with_labels(images, data_samples)
        if parts <= {'backbone'}:
            net.backbone(images)
            return
        if 'all' in parts:
            net._forward(images, data_samples)
            return
        feats = net.extract_feat(images)
        if 'decode' in parts:
            heads = net.decode_head if isinstance(net.decode_head, nn.ModuleList) else [net.decode_head]
            output = heads[0].forward(feats)
            for head in heads[1:]:
                output = head.forward(feats, output)
        for path in parts:
            if path.startswith('auxiliary_head'):
                net.get_submodule(path).forward(feats)


@TASKS.register_module()
class Segmentation(DenseTask):
    """Images with a class for each pixel: any two segmentors of mmseg.

    The losses and predictions (whole image or sliding window, by the student's ``test_cfg``) are mmseg's. Taps:
    :class:`SegmentorTapReader`. The batch's ``labels`` are ``(N, H, W)`` int64; ``extra['data_samples']`` holds mmseg's data
    samples.

    Args:
        num_classes: of the data.
        input_shape: ``(3, H, W)`` of a training image, for dry runs.
        ignore_index: label of pixels that count for nothing; the student's heads must have the same.
        loss_weight: of the student's own losses.

    Raises:
        MissingPackageError: if mmseg is not installed.
    """
    package = 'mmseg'
    reader = SegmentorTapReader

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int] = (3, 256, 256), ignore_index: int = 255,
                 loss_weight: float = 1.0):
        super().__init__(num_classes, input_shape, loss_weight)
        self.ignore_index = ignore_index

    def labels(self, samples: list | None) -> Tensor | None:
        maps = [getattr(sample, 'gt_sem_seg', None) for sample in samples or []]
        if not maps or any(m is None for m in maps) or len({m.data.shape for m in maps}) != 1:
            return None
        return torch.cat([m.data for m in maps]).long()

    def classes_of(self, network: nn.Module) -> int | None:
        head = network.decode_head
        return (head[-1] if isinstance(head, nn.ModuleList) else head).num_classes

    def compares_classes(self, names: Iterable[str]) -> bool:
        return any(name.split('.')[0] in ('logits', 'aux_logits') for name in names)

    def check_classes(self, distillers, student, teacher, student_shapes, teacher_shapes) -> None:
        super().check_classes(distillers, student, teacher, student_shapes, teacher_shapes)
        head = student.decode_head
        for part in head if isinstance(head, nn.ModuleList) else [head]:
            if getattr(part, 'ignore_index', self.ignore_index) != self.ignore_index:
                raise ValueError(f'task.ignore_index is {self.ignore_index} and that of the student\'s {type(part).__name__} '
                                 f'{part.ignore_index}: set model.student.model.decode_head.ignore_index.')
