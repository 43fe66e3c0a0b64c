"""mmdet's detectors, from its own configs made small: a loss with gradients, and predictions."""
import importlib.util
import logging
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

pytest.importorskip('mmdet.models')
from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs
from mmdet.utils import register_all_modules
from mmengine.logging import MessageHub
from mmengine.structures import InstanceData

CONFIGS = Path(importlib.util.find_spec('mmdet').origin).parent / '.mim' / 'configs'
BACKBONE = {'backbone.depth': 18, 'backbone.base_channels': 8}
FPN = {**BACKBONE, 'neck.in_channels': [8, 16, 32, 64], 'neck.out_channels': 32}
DENSE = {**FPN, 'bbox_head.in_channels': 32, 'bbox_head.feat_channels': 32, 'bbox_head.stacked_convs': 1,
         'bbox_head.num_classes': 3, 'test_cfg.score_thr': 0.0, 'test_cfg.nms_pre': 20}
REGIONS = {**FPN, 'rpn_head.in_channels': 32, 'rpn_head.feat_channels': 32, 'roi_head.bbox_roi_extractor.out_channels': 32,
           'roi_head.bbox_head.in_channels': 32, 'roi_head.bbox_head.fc_out_channels': 32, 'roi_head.bbox_head.num_classes': 3,
           'train_cfg.rpn_proposal.max_per_img': 50, 'test_cfg.rpn.max_per_img': 20, 'test_cfg.rcnn.score_thr': 0.0,
           'train_cfg.rcnn.sampler.num': 32}
MASKS = {**REGIONS, 'roi_head.mask_roi_extractor.out_channels': 32, 'roi_head.mask_head.in_channels': 32,
         'roi_head.mask_head.conv_out_channels': 8, 'roi_head.mask_head.num_convs': 1, 'roi_head.mask_head.num_classes': 3}
BN = dict(type='BN')



def queries(width):
    attention, ffn = dict(embed_dims=width, num_heads=4), dict(embed_dims=width, feedforward_channels=32)
    return {**BACKBONE, 'num_queries': 8, 'neck.in_channels': [16, 32, 64], 'neck.out_channels': width,
            'positional_encoding.num_feats': width // 2, 'bbox_head.num_classes': 3, 'bbox_head.embed_dims': width,
            'test_cfg.max_per_img': 5, 'encoder.num_layers': 1, 'decoder.num_layers': 2,
            'encoder.layer_cfg.self_attn_cfg': attention, 'encoder.layer_cfg.ffn_cfg': ffn,
            'decoder.layer_cfg.self_attn_cfg': attention, 'decoder.layer_cfg.cross_attn_cfg': attention,
            'decoder.layer_cfg.ffn_cfg': ffn}


RTMDET = {'backbone.deepen_factor': 0.167, 'backbone.widen_factor': 0.125, 'backbone.norm_cfg': BN,
          'neck.in_channels': [32, 64, 128], 'neck.out_channels': 32, 'neck.num_csp_blocks': 1, 'neck.norm_cfg': BN,
          'bbox_head.in_channels': 32, 'bbox_head.feat_channels': 32, 'bbox_head.norm_cfg': BN, 'bbox_head.num_classes': 3,
          'bbox_head.exp_on_reg': False, 'test_cfg.score_thr': 0.0, 'test_cfg.nms_pre': 20, 'test_cfg.min_bbox_size': -1}

DETECTORS = {
    'gfl': ('gfl/gfl_r50_fpn_1x_coco.py', DENSE),
    'retinanet': ('retinanet/retinanet_r18_fpn_1x_coco.py', DENSE),
    'fcos': ('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', DENSE),
    'atss': ('atss/atss_r50_fpn_1x_coco.py', DENSE),
    'tood': ('tood/tood_r50_fpn_1x_coco.py', DENSE),  # deform_conv2d
    'vfnet': ('vfnet/vfnet_r50_fpn_1x_coco.py', DENSE),  # DCN
    'reppoints': ('reppoints/reppoints-moment_r50_fpn_1x_coco.py', {**DENSE, 'bbox_head.point_feat_channels': 32}),
    'guided_anchors': ('guided_anchoring/ga-retinanet_r50_fpn_1x_coco.py', DENSE),  # DCN, masked convolution
    'faster_rcnn': ('faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', REGIONS),
    'faster_rcnn_soft_nms': ('faster_rcnn/faster-rcnn_r50_fpn_soft-nms_1x_coco.py', REGIONS),
    'faster_rcnn_dcnv2': ('dcnv2/faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py', {
        **REGIONS, 'backbone.depth': 50, 'neck.in_channels': [32, 64, 128, 256]}),  # bottlenecks alone have DCN
    'faster_rcnn_deform_pool': ('dcn/faster-rcnn_r50_fpn_dpool_1x_coco.py', {
        **REGIONS, 'roi_head.bbox_roi_extractor.roi_layer.output_channels': 32}),
    'faster_rcnn_carafe': ('carafe/faster-rcnn_r50_fpn-carafe_1x_coco.py', REGIONS),
    'mask_rcnn': ('mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', MASKS),
    'rtmdet': ('rtmdet/rtmdet_tiny_8xb32-300e_coco.py', RTMDET),
    'deformable_detr': ('deformable_detr/deformable-detr_r50_16xb2-50e_coco.py', queries(32)),
    'dino': ('dino/dino-4scale_r50_8xb2-12e_coco.py', {  # its encoding of boxes is made for 256 channels
        **queries(256), 'dn_cfg.group_cfg.num_dn_queries': 4}),
}


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def small(name):
    """The network of a config with its widths cut down; nothing is fetched."""
    register_all_modules(init_default_scope=False)
    path, changes = DETECTORS[name]
    cfg = Config.fromfile(CONFIGS / path)
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    cfg.model.backbone.init_cfg = None
    torch.manual_seed(0)
    net = MODELS.build(cfg.model)
    logging.disable(logging.INFO)  # else a line for each parameter
    net.init_weights()
    logging.disable(logging.NOTSET)
    return net


def batch(net, name, training=True, size=64):
    data = demo_mm_inputs(2, [[3, size, size], [3, size - 8, size]], num_items=[3, 2], num_classes=3,
                          with_mask=name == 'mask_rcnn', use_box_type=True)
    if name == 'guided_anchors' and not training:  # mmcv's masked convolution takes one image
        data = {key: value[:1] for key, value in data.items()}
    for sample in data['data_samples']:
        sample.ignored_instances = InstanceData(bboxes=sample.gt_instances.bboxes[:0])
    return net.data_preprocessor(data, training)


@pytest.mark.parametrize('name', DETECTORS)
@pytest.mark.filterwarnings('ignore')
def test_loss_and_predictions(name):
    net = small(name)
    MessageHub.get_current_instance().update_info('epoch', 0)  # TOOD reads it; a runner sets it
    losses = net(**batch(net, name), mode='loss')
    total, shown = net.parse_losses(losses)
    assert total.isfinite() and total > 0 and 'loss_cls' in shown or 'loss_rpn_cls' in shown
    total.backward()
    trained = {key: p.grad for key, p in net.named_parameters() if p.requires_grad}
    assert all(g is None or g.isfinite().all() for g in trained.values())
    touched = [key for key, g in trained.items() if g is not None and g.abs().sum() > 0]
    assert any(key.startswith('backbone') for key in touched) and any('head' in key for key in touched)

    net.eval()
    with torch.no_grad():
        found = net(**batch(net, name, training=False), mode='predict')
    boxes = torch.cat([sample.pred_instances.bboxes for sample in found])
    scores = torch.cat([sample.pred_instances.scores for sample in found])
    assert boxes.shape == (len(scores), 4) and boxes.isfinite().all() and len(boxes) > 0
    assert ((scores >= 0) & (scores <= 1)).all()
    for sample in found:
        assert (sample.pred_instances.labels < 3).all()
        if name == 'mask_rcnn':
            assert sample.pred_instances.masks.shape[1:] == tuple(sample.ori_shape)


@pytest.mark.parametrize('name', ['gfl', 'mask_rcnn', 'deformable_detr'])
@pytest.mark.filterwarnings('ignore')
def test_under_autocast(name):
    net = small(name)
    # at 64 pixels the last map is 1x1: there torch 2.15's bf16 gradient of a strided 3x3 convolution reads memory never written
    with torch.autocast('cpu', torch.bfloat16):
        total, _ = net.parse_losses(net(**batch(net, name, size=256), mode='loss'))
    total.backward()
    grads = [p.grad for p in net.parameters() if p.grad is not None]
    assert total.isfinite() and grads and all(g.isfinite().all() for g in grads)
    net.eval()
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        found = net(**batch(net, name, training=False), mode='predict')
    assert all(sample.pred_instances.bboxes.isfinite().all() for sample in found)
