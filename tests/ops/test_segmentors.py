"""mmseg's segmentors, from its own configs made small: a loss with gradients, and predictions."""
import importlib.util
import logging
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData

pytest.importorskip('mmseg.models')
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from mmseg.utils import register_all_modules

CONFIGS = Path(importlib.util.find_spec('mmseg').origin).parent / '.mim' / 'configs' / '_base_' / 'models'
CLASSES = 4
BACKBONE = {'backbone.depth': 18, 'backbone.base_channels': 8, 'backbone.stem_channels': 8}
HEAD = {**BACKBONE, 'decode_head.in_channels': 64, 'decode_head.channels': 16, 'auxiliary_head.in_channels': 32,
        'auxiliary_head.channels': 16}
STDC = {'backbone.backbone_cfg.channels': (8, 8, 16, 32, 32), 'backbone.last_in_channels': (32, 32),
        'backbone.out_channels': 16, 'backbone.ffm_cfg': dict(in_channels=32, out_channels=32, scale_factor=4),
        'decode_head.in_channels': 32, 'decode_head.channels': 16, 'auxiliary_head.0.in_channels': 16,
        'auxiliary_head.1.in_channels': 16, 'auxiliary_head.2.in_channels': 16}

SEGMENTORS = {
    'fcn': ('fcn_r50-d8.py', HEAD),
    'pspnet': ('pspnet_r50-d8.py', HEAD),
    'deeplabv3plus': ('deeplabv3plus_r50-d8.py', {**HEAD, 'decode_head.c1_in_channels': 8, 'decode_head.c1_channels': 8,
                                                 'decode_head.dilations': (1, 2)}),
    'ocrnet': ('ocrnet_r50-d8.py', {**BACKBONE, 'decode_head.0.in_channels': 32, 'decode_head.0.channels': 16,
                                    'decode_head.1.in_channels': 64, 'decode_head.1.channels': 16,
                                    'decode_head.1.ocr_channels': 16}),
    'segformer': ('segformer_mit-b0.py', {
        'backbone.embed_dims': 8, 'backbone.num_layers': [1, 1, 1, 1], 'decode_head.in_channels': [8, 16, 40, 64],
        'decode_head.channels': 16}),
    'stdc': ('stdc.py', STDC),
    'psanet': ('psanet_r50-d8.py', {**HEAD, 'decode_head.mask_size': (9, 9)}),  # psa_mask
    'ccnet': ('ccnet_r50-d8.py', HEAD),  # criss-cross attention
    'pointrend': ('pointrend_r50.py', {  # point_sample
        **BACKBONE, 'neck.in_channels': [8, 16, 32, 64], 'neck.out_channels': 16, 'decode_head.0.in_channels': [16] * 4,
        'decode_head.0.channels': 16, 'decode_head.1.in_channels': [16], 'decode_head.1.channels': 16,
        'train_cfg.num_points': 64}),
}


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def small(name):
    """The network of a config with its widths cut down and plain batch norm; nothing is fetched."""
    register_all_modules(init_default_scope=False)
    path, changes = SEGMENTORS[name]
    cfg = Config(dict(model=Config.fromfile(CONFIGS / path).model.to_dict()))
    cfg.merge_from_dict({f'model.{key}': value for key, value in changes.items()})
    model = cfg.model
    model.pretrained = None

    def settle(part):
        for value in part.values() if isinstance(part, dict) else part:
            if isinstance(value, (dict, list)):
                settle(value)
        if isinstance(part, dict):
            if part.get('type') == 'SyncBN':
                part['type'] = 'BN'
            if part.get('num_classes') == 19:
                part['num_classes'] = CLASSES
            part.pop('sampler', None)

    settle(model)
    torch.manual_seed(0)
    net = MODELS.build(model)
    logging.disable(logging.INFO)  # else a line for each parameter
    net.init_weights()
    logging.disable(logging.NOTSET)
    return net


def batch(net, training=True, side=64):
    torch.manual_seed(1)
    samples = []
    for _ in range(2):
        labels = torch.randint(0, CLASSES, (1, side, side))
        labels[:, :4] = 255
        sample = SegDataSample(gt_sem_seg=PixelData(data=labels))
        sample.set_metainfo(dict(img_shape=(side, side), ori_shape=(side, side), pad_shape=(side, side)))
        samples.append(sample)
    images = list(torch.randint(0, 255, (2, 3, side, side), dtype=torch.uint8))
    net.data_preprocessor.size = (side, side)
    return net.data_preprocessor(dict(inputs=images, data_samples=samples), training)


@pytest.mark.parametrize('name', SEGMENTORS)
@pytest.mark.filterwarnings('ignore')
def test_loss_and_predictions(name):
    net = small(name)
    total, shown = net.parse_losses(net(**batch(net), mode='loss'))
    assert total.isfinite() and total > 0 and any('loss' in key for key in shown)
    total.backward()
    grads = {key: p.grad for key, p in net.named_parameters() if p.grad is not None}
    assert all(g.isfinite().all() for g in grads.values())
    for part in ('backbone', 'decode_head'):
        assert any(key.startswith(part) and g.abs().sum() > 0 for key, g in grads.items())

    net.eval()
    with torch.no_grad():
        found = net(**batch(net, training=False), mode='predict')
    for sample in found:
        assert sample.pred_sem_seg.data.shape == (1, 64, 64) and sample.pred_sem_seg.data.max() < CLASSES
        assert sample.seg_logits.data.shape == (CLASSES, 64, 64) and sample.seg_logits.data.isfinite().all()


@pytest.mark.filterwarnings('ignore')
def test_sliding_windows_and_autocast():
    net = small('pspnet').eval()
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        whole = net(**batch(net, training=False), mode='predict')
        net.test_cfg.update(mode='slide', crop_size=(48, 48), stride=(16, 16))
        slid = net(**batch(net, training=False), mode='predict')
    for a, b in zip(whole, slid):
        assert a.seg_logits.data.shape == b.seg_logits.data.shape and b.seg_logits.data.isfinite().all()
