"""mmdet's dense heads as methods see them: what must agree between two of them, their targets and their boxes.

Heads are told apart by their layers, so that this needs no mmdet: GFL, ATSS, RetinaNet, FCOS and what derives from them.
"""
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn

from .boxes import flat_map

__all__ = ['DenseHead', 'Targets', 'gt_boxes', 'process_mean', 'refuse_unlike']

_LAYERS = {'gfl': ('gfl_cls', 'gfl_reg'), 'atss': ('atss_cls', 'atss_reg'), 'retina': ('retina_cls', 'retina_reg'),
           'fcos': ('conv_cls', 'conv_reg')}
_NAMES = {'gfl': 'GFL', 'atss': 'ATSS', 'retina': 'RetinaNet', 'fcos': 'FCOS'}


def process_mean(value: Tensor) -> Tensor:
    """A detached scalar averaged over all processes."""
    value = value.detach().clone()
    if get_world_size() > 1:
        all_reduce(value, op='mean')
    return value


def gt_boxes(data_samples: Sequence) -> list[Tensor]:
    """The labelled boxes ``(n_i, 4)`` xyxy of each image, in pixels of the network's input."""
    boxes = [sample.gt_instances.bboxes for sample in data_samples]
    return [getattr(box, 'tensor', box) for box in boxes]


@dataclass(frozen=True)
class Targets:
    """What a head's assignment says, level by level; A is the number of priors of the level.

    Attributes:
        labels: ``(N, A)`` int64, the number of classes stands for background.
        label_weights: ``(N, A)`` float, 0 for priors outside the image or ignored.
        boxes: box targets ``(N, A, 4)`` in the head's own coding.
        num_positives: mmdet's normaliser on this process, ``()`` float.
    """
    labels: list[Tensor]
    label_weights: list[Tensor]
    boxes: list[Tensor]
    num_positives: Tensor


class DenseHead:
    """The dense head of an mmdet detector.

    Args:
        detector: the network, with a ``bbox_head``.
        method, side: who asks, and whose head it is, for errors.
        kinds: the kinds of heads that the method works on: ``gfl``, ``atss``, ``retina``, ``fcos``.

    Raises:
        ValueError: if the network has no such head.
    """

    def __init__(self, detector: nn.Module, method: str, side: str, kinds: Sequence[str] = tuple(_LAYERS)):
        head = getattr(detector, 'bbox_head', None)
        found = [kind for kind, layers in _LAYERS.items() if all(hasattr(head, layer) for layer in layers)]
        wanted = ', '.join(_NAMES[kind] for kind in kinds)
        if not found or found[0] not in kinds or found[0] == 'fcos' and not hasattr(head, 'conv_centerness'):
            name = type(detector).__name__ if head is None else type(head).__name__
            raise ValueError(f'{method} works on dense heads of mmdet ({wanted}), and the {side} has {name}.')
        self.module, self.kind = head, found[0]
        self.cls, self.reg = (getattr(head, layer) for layer in _LAYERS[self.kind])
        self.num_classes, self.num_outputs = head.num_classes, head.cls_out_channels
        self.num_priors = list(head.prior_generator.num_base_priors)
        self.reg_max = head.reg_max if self.kind == 'gfl' else None

    @property
    def strides(self) -> list[int]:
        """Of the levels, in pixels of the input."""
        return [max(stride) if isinstance(stride, (list, tuple)) else stride for stride in self.module.prior_generator.strides]

    def priors(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Anchors ``(H*W*A, 4)`` or points ``(H*W, 2)`` of each level for maps ``(N, C, H, W)``."""
        return self.module.prior_generator.grid_priors([x.shape[-2:] for x in maps], dtype=torch.float32,
                                                       device=maps[0].device)

    def inside(self, maps: Sequence[Tensor], img_meta: dict) -> Tensor:
        """``(A,)`` bool over all levels: the priors that the head assigns to anything in this image."""
        from mmdet.models.task_modules.prior_generators import anchor_inside_flags
        flags = self.module.prior_generator.valid_flags([tuple(x.shape[-2:]) for x in maps], img_meta['pad_shape'],
                                                        device=maps[0].device)
        return anchor_inside_flags(torch.cat(self.priors(maps)), torch.cat(flags), img_meta['img_shape'][:2],
                                   self.module.train_cfg['allowed_border'])

    def targets(self, raw: Sequence, count: int) -> Targets:
        """What ``get_targets`` of this head returned in this step's loss, in one form.

        Args:
            raw: the tap ``head.targets``.
            count: N, the number of images.
        """
        if self.kind == 'fcos':
            labels, boxes = raw[:2]
            labels = [level.reshape(count, -1) for level in labels]
            boxes = [level.reshape(count, -1, 4) for level in boxes]
            positives = sum(self.positive(level).sum() for level in labels)
            return Targets(labels, [torch.ones_like(level, dtype=boxes[0].dtype) for level in labels], boxes,
                           positives.to(boxes[0].dtype))
        labels, weights, boxes, _, positives = raw[1:6] if self.kind in ('gfl', 'atss') else raw[:5]
        positives = torch.as_tensor(positives, dtype=boxes[0].dtype, device=boxes[0].device)
        return Targets(list(labels), list(weights), list(boxes), positives)

    def assign(self, maps: Sequence[Tensor], data_samples: Sequence) -> Targets:
        """The targets of a batch outside of a training step, for passes over the training set.

        Args:
            maps: of each level ``(N, C, H, W)``, of which only the sizes count.
        """
        from mmdet.models.utils import unpack_gt_instances
        boxes, ignored, metas = unpack_gt_instances(list(data_samples))
        if self.kind == 'fcos':
            return self.targets(self.module.get_targets(self.priors(maps), boxes), len(metas))
        anchors, valid = self.module.get_anchors([x.shape[-2:] for x in maps], metas, device=maps[0].device)
        raw = self.module.get_targets(anchors, valid, boxes, metas, batch_gt_instances_ignore=ignored)
        return self.targets(raw, len(metas))

    def at_positives(self, maps: Sequence[Tensor], targets: Targets, width: int) -> tuple[Tensor, Tensor]:
        """What stands in ``maps`` where an object is assigned: ``(P, width)``, and its classes ``(P,)``, level by level.

        Args:
            maps: ``(N, A*width, H, W)``, or ``(N, width, H, W)`` where the anchors of a position share it.
        """
        rows, classes = [], []
        for x, labels in zip(maps, targets.labels):
            labels, flat = labels.reshape(-1), flat_map(x, width)
            places = self.positive(labels).nonzero()[:, 0]
            rows.append(flat[places // (len(labels) // len(flat))])
            classes.append(labels[places])
        return torch.cat(rows), torch.cat(classes)

    def positive(self, labels: Tensor) -> Tensor:
        """Where ``labels`` are of an object."""
        return (labels >= 0) & (labels < self.num_classes)

    def boxes(self, bbox_pred: Tensor, priors: Tensor, level: int) -> Tensor:
        """Decoded boxes ``(N*H*W*A, 4)`` xyxy in pixels of one level's raw map; not for GFL, whose bins
        :func:`zoo.distillers.boxes.boxes_from_bins` turns into boxes.

        The taps are what a head gives in training, so that distances under FCOS's ``norm_on_bbox`` are in strides.
        """
        flat = flat_map(bbox_pred, 4)
        if self.kind == 'fcos' and self.module.norm_on_bbox:
            flat = flat * self.strides[level]
        return self.module.bbox_coder.decode(priors.repeat(len(bbox_pred), 1), flat)

    def finish_boxes(self, raw: Tensor, level: int) -> Tensor:
        """What this head makes of its last convolution's output in training: scale, and FCOS's positive distances."""
        if self.kind == 'retina':
            return raw
        raw = self.module.scales[level](raw)
        if self.kind != 'fcos':
            return raw
        return raw.clamp(min=0) if self.module.norm_on_bbox else raw.exp()

    def center_targets(self, targets: Targets) -> Tensor:
        """FCOS's centreness targets of all positives, ``(P,)``, level by level."""
        boxes = torch.cat([b[self.positive(labels)] for b, labels in zip(targets.boxes, targets.labels)])
        return self.module.centerness_target(boxes)


def refuse_unlike(student: DenseHead, teacher: DenseHead, method: str, shapes=None, *, reg_max: bool = False) -> None:
    """Refuse two heads whose predictions do not lie on one another.

    Args:
        shapes: of the dry run (:class:`zoo.distillers.Shapes`), by which maps of other sizes are found: a teacher may see
            images of its own size.

    Raises:
        ValueError: naming what differs: the kind of head, strides, anchors, classes, ``reg_max`` or the maps' sizes.
    """
    def refuse(what: str, own, other):
        raise ValueError(f'{method} compares predictions place by place, but {what} of student and teacher differ: '
                         f'{own} and {other}.')

    if student.kind != teacher.kind:
        refuse('the kinds of the heads', _NAMES[student.kind], _NAMES[teacher.kind])
    if student.strides != teacher.strides:
        refuse('the strides', student.strides, teacher.strides)
    if student.num_priors != teacher.num_priors:
        refuse('the numbers of anchors per position', student.num_priors[0], teacher.num_priors[0])
    if student.num_classes != teacher.num_classes:
        refuse('the classes', student.num_classes, teacher.num_classes)
    if student.num_outputs != student.num_classes or teacher.num_outputs != teacher.num_classes:
        raise ValueError(f'{method} compares the sigmoid scores of each class, and one of the heads uses a softmax: set '
                         'bbox_head.loss_cls.use_sigmoid=True.')
    own, other = (getattr(head.module.prior_generator, 'base_anchors', None) for head in (student, teacher))
    if own is not None and any(not torch.allclose(a.cpu(), b.cpu()) for a, b in zip(own, other)):
        refuse('the anchors', [tuple(a) for a in own[0].tolist()], [tuple(b) for b in other[0].tolist()])
    if own is None and student.module.prior_generator.offset != teacher.module.prior_generator.offset:
        refuse('the offsets of the points', student.module.prior_generator.offset, teacher.module.prior_generator.offset)
    if reg_max and student.reg_max != teacher.reg_max:
        refuse('the numbers of bins (reg_max)', student.reg_max, teacher.reg_max)
    sizes = [[tuple(shape[2:]) for shape in side.get('head.cls_scores', ())] for side in (shapes.student, shapes.teacher)] \
        if shapes is not None else [[], []]
    if all(sizes) and sizes[0] != sizes[1]:
        refuse('the sizes of the first level (see model.teacher.input)', sizes[0][0], sizes[1][0])
