"""Segmentation: any two mmseg networks, their losses, taps by name."""
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip('mmseg')

from zoo.distillers.base import Distiller, Needs
from zoo.engine import OptimWrapper
from zoo.models.openmmlab import require
from zoo.registry import DISTILLERS, UnknownNameError
from zoo.tasks import Distillation
from zoo.tasks.dense import replaced

require('mmseg')

from mmengine.structures import PixelData  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402

CHANNELS = [8, 16, 32, 64]
BACKBONE = dict(depth=18, stem_channels=8, base_channels=8)


@DISTILLERS.register_module()
class PixelDistance(Distiller):
    """Keeps what it is given; its loss is the distance of the first student's tap to the first teacher's."""

    def __init__(self, student=('logits',), teacher=('logits',)):
        super().__init__()
        self.needs = Needs(student=tuple(student), teacher=tuple(teacher), labels=True)

    def build(self, shapes):
        self.shapes = shapes

    def forward(self, student, teacher, batch, progress):
        self.seen = student, teacher, batch
        return dict(distance=F.mse_loss(student[self.needs.student[0]], teacher[self.needs.teacher[0]]))


def net(config: str, **model) -> dict:
    return dict(type='MMSegModel', config=f'mmseg::_base_/models/{config}.py', model=dict(backbone=BACKBONE, **model))


FCN = net('fcn_r50-d8', decode_head=dict(in_channels=64, channels=12, num_convs=1),
          auxiliary_head=dict(in_channels=32, channels=8))
NETWORKS = dict(
    fcn=FCN,
    pspnet=net('pspnet_r50-d8', decode_head=dict(in_channels=64, channels=8, pool_scales=(1, 2)),
               auxiliary_head=dict(in_channels=32, channels=8)),
    deeplabv3plus=net('deeplabv3plus_r50-d8', decode_head=dict(in_channels=64, channels=8, c1_in_channels=8, c1_channels=4),
                      auxiliary_head=dict(in_channels=32, channels=8)),
    ocrnet=net('ocrnet_r50-d8', decode_head={0: dict(in_channels=32, channels=8), 1: dict(
        in_channels=64, channels=8, ocr_channels=8)}),
    stdc=dict(type='MMSegModel', config='mmseg::_base_/models/stdc.py'),
    segformer=dict(type='MMSegModel', config='mmseg::_base_/models/segformer_mit-b0.py', model=dict(
        backbone=dict(embed_dims=8, num_heads=[1, 1, 1, 1], num_layers=[1, 1, 1, 1]),
        decode_head=dict(in_channels=[8, 8, 8, 8], channels=8))),
    encnet=net('encnet_r50-d8', decode_head=dict(in_channels=[16, 32, 64], channels=8, num_codes=4),
               auxiliary_head=dict(in_channels=32, channels=8)))


def distillation(student=FCN, teacher=FCN, distillers=None, **task) -> Distillation:
    torch.manual_seed(0)
    teacher = None if teacher is None else dict({'input': None, 'untrained': True}, **teacher)
    distillers = [dict(type='PixelDistance')] if distillers is None else distillers
    return Distillation(
        student=student, teacher=teacher, distillers=distillers if teacher is not None else [],
        task=dict(type='Segmentation', num_classes=5, input_shape=(3, 64, 64), **task),
        data_preprocessor=dict(type='mmseg.SegDataPreProcessor', mean=[127.5] * 3, std=[127.5] * 3, size=(64, 64)))


def loaded(number: int = 2, ignored: bool = False, size=(64, 60)) -> dict:
    """A loader's batch."""
    generator = torch.Generator().manual_seed(1)
    samples = []
    for position in range(number):
        labels = torch.randint(5, (1, *size), generator=generator)
        labels[:, :8] = 255
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size, sample_idx=position))
        sample.gt_sem_seg = PixelData(data=torch.full_like(labels, 255) if ignored else labels)
        samples.append(sample)
    return dict(inputs=[torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8) for _ in range(number)],
                data_samples=samples)


def step(model: Distillation, data: dict, amp: str = 'off') -> dict[str, float]:
    model.train()
    optimiser = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-4), amp=amp, device='cpu')
    return {k: v.item() for k, v in model.train_step(data, optimiser).items()}


@pytest.mark.parametrize('kind', NETWORKS)
def test_students_of_all_kinds_train(kind):
    """With bf16; with labels that are all ignored; and they predict at the image's size."""
    model = distillation(student=NETWORKS[kind], teacher=NETWORKS[kind])
    for amp in ('off', 'bf16'):
        logs = step(model, loaded(), amp)
        terms = {k: v for k, v in logs.items() if k != 'loss' and 'acc' not in k}
        assert logs['loss'] == pytest.approx(sum(terms.values()), rel=1e-4)
        assert 'test_segmentation.distance' in terms and any('loss_ce' in k for k in terms)
        assert any(k.endswith('acc_seg') for k in logs)
    logs = step(model, loaded(ignored=True))
    assert all(v == v for v in logs.values())
    model.eval()
    with torch.no_grad():
        found = model.val_step(loaded())
    assert found[0].pred_sem_seg.data.shape == (1, 64, 60) and found[0].seg_logits.data.shape == (5, 64, 60)


def test_losses_are_mmsegs():
    model = distillation(teacher=None)
    data = model.data_preprocessor(loaded(), training=True)
    model.train()
    torch.manual_seed(5)
    expected = model.student.loss(data['inputs'], data['data_samples'])
    torch.manual_seed(5)  # of dropout
    ours = model(data)
    assert ours.keys() == {k for k in expected if 'loss' in k}
    for name in ours:
        torch.testing.assert_close(ours[name], expected[name])


def test_taps():
    names = ('logits', 'aux_logits', 'decode_features', 'backbone.2', 'neck', 'decode_head.conv_seg:input',
             'auxiliary_head.convs.0')
    model = distillation(distillers=[dict(type='PixelDistance', student=names, teacher=names)])
    distiller = model.distillers['test_segmentation']
    assert distiller.shapes.student['logits'] == (2, 5, 8, 8) and distiller.shapes.teacher['decode_features'] == (2, 12, 8, 8)
    step(model, loaded())
    student, teacher, batch = distiller.seen
    assert student['aux_logits'].shape == (2, 5, 8, 8) and student['auxiliary_head.convs.0'].shape[1] == 8
    # the head's features before its dropout; by its path, behind it
    assert (student['decode_head.conv_seg:input'] == 0).sum() > (student['decode_features'] == 0).sum()
    torch.testing.assert_close(teacher['decode_head.conv_seg:input'], teacher['decode_features'])
    torch.testing.assert_close(model.teacher.decode_head.conv_seg(teacher['decode_features']), teacher['logits'])
    assert student['backbone.2'].shape[1] == 32 and len(student['neck']) == 4
    assert batch.labels.shape == (2, 64, 64) and batch.labels.dtype == torch.int64 and batch.indices.tolist() == [0, 1]
    assert (batch.labels[:, :, 60:] == 255).all()  # padded
    assert student['logits'].requires_grad and not teacher['logits'].requires_grad
    assert student.run(batch.images, ['logits'])['logits'].shape == (2, 5, 8, 8)


def test_cascade_gives_the_last_heads_logits():
    model = distillation(student=NETWORKS['ocrnet'], teacher=NETWORKS['ocrnet'])
    model.eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        logits = model.teacher_reader(images, ['logits'])['logits']
        torch.testing.assert_close(logits, model.teacher._forward(images))


def test_one_pass():
    model = distillation()
    counts = dict(student=0, teacher=0, aux=0)

    def counted(name):
        def wrap(original):
            def call(*args, **kwargs):
                counts[name] += 1
                return original(*args, **kwargs)
            return call
        return wrap

    with replaced(model.student.backbone, 'forward', counted('student')), \
            replaced(model.teacher.backbone, 'forward', counted('teacher')), \
            replaced(model.teacher.auxiliary_head, 'forward', counted('aux')):
        step(model, loaded())
    assert counts == dict(student=1, teacher=1, aux=0)


def test_without_the_networks_own_loss():
    model = distillation(loss_weight=0)
    assert set(step(model, loaded())) == {'test_segmentation.distance', 'loss'}


def test_slide_inference():
    """The student's test_cfg decides."""
    slide = dict(FCN, model=dict(FCN['model'], test_cfg=dict(mode='slide', crop_size=(32, 32), stride=(16, 16))))
    model = distillation(student=slide, teacher=None).eval()
    whole = distillation(teacher=None).eval()
    whole.student.load_state_dict(model.student.state_dict())
    with torch.no_grad():
        a, b = model.val_step(loaded(1))[0].seg_logits.data, whole.val_step(loaded(1))[0].seg_logits.data
    assert a.shape == b.shape and not torch.allclose(a, b)


def test_refusals():
    with pytest.raises(ValueError, match='compares class scores, but the teacher has 19 classes and the student 5'):
        distillation(teacher=dict(FCN, num_classes=19))
    with pytest.raises(ValueError, match='ignore_index is 0 and that of the student\'s FCNHead 255'):
        distillation(ignore_index=0)
    with pytest.raises(UnknownNameError, match='decode_features'):
        distillation(distillers=[dict(type='PixelDistance', student=['decode_feature'])])
    bare = dict(FCN, model=dict(FCN['model'], auxiliary_head=None))
    with pytest.raises(UnknownNameError, match='aux_logits'):
        distillation(student=bare, distillers=[dict(type='PixelDistance', student=['aux_logits'])])
