"""Tiny detectors of mmdet, two labelled images, and pairs of them under one distiller."""
import ast
import copy
import functools

import pytest
import torch
from torch import Tensor

pytest.importorskip('mmdet')

from zoo.models import build_network
from zoo.registry import MODELS
from zoo.tasks import Distillation

CONFIGS = {
    'gfl': 'mmdet::gfl/gfl_r50_fpn_1x_coco.py', 'retina': 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
    'fcos': 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', 'atss': 'mmdet::atss/atss_r50_fpn_1x_coco.py',
    'fcos_strides': 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py',
}
SIZE, CLASSES = 64, 3


@functools.cache
def _network(kind: str, seed: int, classes: int, changes: str):
    torch.manual_seed(seed)
    changes = ast.literal_eval(changes)  # a dict as text, for the cache's key
    width = changes.pop('width', 8)
    head = dict(in_channels=width, feat_channels=width, stacked_convs=2)
    if kind != 'retina':
        head['norm_cfg'] = dict(type='GN', num_groups=4, requires_grad=True)
    model = dict(backbone=dict(depth=18, base_channels=4, stem_channels=4, style='pytorch'),
                 neck=dict(in_channels=[4, 8, 16, 32], out_channels=width), bbox_head={**head, **changes})
    return build_network(dict(type='MMDetModel', config=CONFIGS[kind], model=model), num_classes=classes)


def detector(kind: str = 'gfl', seed: int = 0, classes: int = CLASSES, **head):
    """A detector of ``kind`` on a ResNet-18 with 4 to 32 channels; ``head`` changes its head, ``width`` neck and head.

    Its last convolutions are larger than mmdet initialises them, so that scores and boxes differ from place to place.
    """
    net = copy.deepcopy(_network(kind, seed, classes, repr(head)))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in net.bbox_head.named_parameters():
            if name.endswith(('_cls.weight', '_reg.weight', '_centerness.weight', 'conv_cls.weight')):
                weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
            if name.endswith('_cls.bias'):
                weight.zero_()
    return net


def pair(distiller: dict, kind: str = 'gfl', student=None, teacher=None, teacher_input=None) -> Distillation:
    """A student under a teacher of the same kind (or the given networks) and one distiller, in train mode."""
    if teacher_input is not None:
        teacher = dict(detector(kind).build_config, untrained=True, input=teacher_input)
    model = Distillation(
        student=student or detector(kind, seed=1), teacher=teacher or detector(kind), distillers=[distiller],
        task=dict(type='Detection', num_classes=CLASSES, input_shape=(3, SIZE, SIZE)),
        data_preprocessor=dict(type='mmdet.DetDataPreprocessor', mean=[0, 0, 0], std=[255.0, 255.0, 255.0]))
    return model.train()


def batch(boxes: tuple[int, ...] = (2, 1)) -> dict:
    """Preprocessed images with this many labelled boxes each."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData
    size, samples = (SIZE, SIZE), []
    for count in boxes:
        sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size,
                                             scale_factor=(1.0, 1.0)))
        sample.gt_instances = InstanceData(bboxes=torch.tensor([[8.0, 6, 40, 42], [20, 30, 60, 62]])[:count],
                                           labels=torch.arange(count) % CLASSES)
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
        samples.append(sample)
    images = torch.randint(0, 255, (len(boxes), 3, *size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    preprocessor = MODELS.build(dict(type='mmdet.DetDataPreprocessor', mean=[0, 0, 0], std=[255.0, 255.0, 255.0]))
    return preprocessor(dict(inputs=list(images), data_samples=samples), training=True)


def distiller_terms(model: Distillation, data: dict) -> dict[str, Tensor]:
    """The distiller's terms, with the same random draws each time."""
    torch.manual_seed(1)
    terms = model(data, mode='loss')
    return {name: value for name, value in terms.items() if name not in model._last_terms}
