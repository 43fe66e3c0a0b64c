"""Object detection with mmdet."""
import inspect
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from zoo.distillers.base import Batch
from zoo.registry import TASKS, UnknownNameError

from .dense import DenseTapReader, DenseTask

__all__ = ['Detection', 'DetectorTapReader']


class DetectorTapReader(DenseTapReader):
    """Taps of an mmdet detector.

    ``backbone``, ``neck`` (the backbone's maps where there is no neck), each also with a level's index; ``head``: what the
    dense head (a two-stage detector's RPN) gives in training: a list of outputs, each a list over levels; ``head.cls_scores``,
    ``head.bbox_preds``, ``head.centernesses``, ...: one of them by the name that the head's ``loss_by_feat`` has for it;
    ``head.targets``: what its ``get_targets`` gave to this step's loss (student only).
    """

    @property
    def head_path(self) -> str | None:
        """Where the dense head is, which gives a map for each level; None for networks without."""
        from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
        for path in ('bbox_head', 'rpn_head'):
            if isinstance(getattr(self.module, path, None), BaseDenseHead):
                return path
        return None

    @property
    def outputs(self) -> list[str]:
        """Names of the dense head's outputs, in order."""
        head = getattr(self.module, self.head_path)
        names = []
        for name in inspect.signature(type(head).loss_by_feat).parameters:
            if name.startswith('batch_'):
                break
            if name not in ('self', 'x', 'kwargs'):
                names.append(name)
        return names

    def own_names(self) -> dict[str, str]:
        names = super().own_names()
        if self.head_path is not None:
            names.update(dict.fromkeys(('head', 'head.targets', *(f'head.{o}' for o in self.outputs)), 'head'))
        return names

    def point(self, name: str):
        if name.split('.')[0] == 'head' and self.head_path is None:
            raise UnknownNameError(f'{type(self.module).__name__} has no dense head, whose outputs belong to positions of the '
                                   f'image, so that there is no tap {name!r}; read backbone, neck or a module path.')
        return super().point(name)

    def own_point(self, name: str) -> tuple[tuple[str, str], str, Callable | None]:
        if name in ('backbone', 'neck'):
            return super().own_point(name)
        if name == 'head.targets':
            return (self.head_path, 'get_targets'), 'output', lambda targets: targets
        if name == 'head':
            return (self.head_path, 'forward'), 'output', lambda outputs: outputs
        position = self.outputs.index(name.partition('.')[2])
        return (self.head_path, 'forward'), 'output', lambda outputs: outputs[position]

    def _points(self, names: Iterable[str]) -> dict[str, tuple]:
        points = super()._points(names)
        if 'head.targets' in points and not hasattr(getattr(self.module, self.head_path), 'get_targets'):
            head = type(getattr(self.module, self.head_path)).__name__
            raise UnknownNameError(f"{head} has no get_targets, so that there is no tap 'head.targets'.")
        return points

    def part_of(self, path: str) -> str:
        root = path.split('.')[0]
        return 'head' if root == self.head_path else super().part_of(path)

    def training_only(self, name: str) -> bool:
        return name.split(':')[0] == 'head.targets' or name.startswith('head.targets.')

    def run_to(self, parts: set[str], images: Tensor, data_samples: list | None) -> None:
        net = self.module
        if 'all' in parts:
            net._forward(images, self._samples(images) if data_samples is None else data_samples)
            return
        if parts <= {'backbone'}:
            net.backbone(images)
            return
        feats = net.extract_feat(images)
        if 'head' in parts:
            head = getattr(net, self.head_path)
            mode, head.training = head.training, True  # of the head alone: FCOS and others rescale their boxes in eval mode
            try:
                head(feats)
            finally:
                head.training = mode

    @staticmethod
    def _samples(images: Tensor) -> list:
        from mmdet.structures import DetDataSample
        size = tuple(images.shape[2:])
        return [DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size,
                                            scale_factor=(1.0, 1.0))) for _ in images]


@TASKS.register_module()
class Detection(DenseTask):
    """Images with boxes, and masks where the student wants them: any two detectors of mmdet.

    The losses, targets and predictions are mmdet's. Taps: :class:`DetectorTapReader`. The batch has no ``labels``;
    ``extra['data_samples']`` holds mmdet's data samples.

    Args:
        num_classes: of the data.
        input_shape: ``(3, H, W)`` of a typical training image, for dry runs.
        loss_weight: of the student's own losses.

    Raises:
        MissingPackageError: if mmdet is not installed.
    """
    package = 'mmdet'
    reader = DetectorTapReader

    def classes_of(self, network: nn.Module) -> int | None:
        head = getattr(network, 'bbox_head', None)
        if head is None:
            head = getattr(getattr(network, 'roi_head', None), 'bbox_head', None)
        if isinstance(head, (nn.ModuleList, nn.Sequential)):
            head = head[-1]
        return getattr(head, 'num_classes', None)

    def compares_classes(self, names: Iterable[str]) -> bool:
        return any(name.split(':')[0] == 'head' or name.startswith('head.cls_scores') for name in names)

    def predict(self, reader: DetectorTapReader, batch: Batch, teacher_logits=None) -> list:
        with torch.no_grad():
            return super().predict(reader, batch)
