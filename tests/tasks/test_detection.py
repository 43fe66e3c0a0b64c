"""Detection: any two mmdet networks, their losses, taps by name."""
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip('mmdet')

from zoo.distillers.base import Distiller, Needs
from zoo.engine import OptimWrapper
from zoo.models.openmmlab import require
from zoo.registry import DISTILLERS, UnknownNameError
from zoo.tasks import Distillation
from zoo.tasks.dense import DenseInputAdapter, replaced

require('mmdet')

from mmdet.structures import DetDataSample  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402

CHANNELS = [8, 16, 32, 64]
BACKBONE = dict(depth=18, stem_channels=8, base_channels=8)


@DISTILLERS.register_module()
class TapReadingDistiller(Distiller):
    """Keeps what it is given; its loss is the distance of the first student's tap to the first teacher's."""
    same_classes = True

    def __init__(self, student=('neck.0',), teacher=('neck.0',)):
        super().__init__()
        self.needs = Needs(student=tuple(student), teacher=tuple(teacher))

    def build(self, shapes):
        self.shapes = shapes
        own, theirs = shapes.student[self.needs.student[0]], shapes.teacher[self.needs.teacher[0]]
        self.project = torch.nn.Conv2d(own[1], theirs[1], 1)

    def forward(self, student, teacher, batch, progress):
        self.seen = student, teacher, batch
        return dict(distance=F.mse_loss(self.project(student[self.needs.student[0]]), teacher[self.needs.teacher[0]]))


def single_stage(config: str, width: int = 64) -> dict:
    return dict(type='MMDetModel', config=f'mmdet::{config}', model=dict(
        backbone=BACKBONE, neck=dict(in_channels=CHANNELS, out_channels=width),
        bbox_head=dict(in_channels=width, feat_channels=width, stacked_convs=1)))


RTMDET = dict(type='MMDetModel', config='mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py', model=dict(
    backbone=dict(deepen_factor=0.167, widen_factor=0.125),
    neck=dict(in_channels=[32, 64, 128], out_channels=32, num_csp_blocks=1), bbox_head=dict(in_channels=32, feat_channels=32)))
GFL = single_stage('gfl/gfl_r50_fpn_1x_coco.py')
NETWORKS = dict(
    gfl=GFL, retinanet=single_stage('retinanet/retinanet_r50_fpn_1x_coco.py'),
    fcos=single_stage('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py'), atss=single_stage('atss/atss_r50_fpn_1x_coco.py'),
    rtmdet=RTMDET,
    faster_rcnn=dict(type='MMDetModel', config='mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', model=dict(
        backbone=BACKBONE, neck=dict(in_channels=CHANNELS, out_channels=32), rpn_head=dict(in_channels=32, feat_channels=32),
        roi_head=dict(bbox_roi_extractor=dict(out_channels=32), bbox_head=dict(in_channels=32, fc_out_channels=32)))),
    deformable_detr=dict(type='MMDetModel', config='mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py', model=dict(
        backbone=BACKBONE, neck=dict(in_channels=CHANNELS[1:]), num_queries=20, encoder=dict(num_layers=1),
        decoder=dict(num_layers=2))))


def distillation(student=GFL, teacher=GFL, distillers=None, **options) -> Distillation:
    torch.manual_seed(0)
    teacher = None if teacher is None else dict({'input': None, 'untrained': True}, **teacher)
    distillers = [dict(type='TapReadingDistiller')] if distillers is None else distillers
    return Distillation(
        student=student, teacher=teacher, distillers=distillers if teacher is not None else [],
        task=dict(type='Detection', num_classes=10, input_shape=(3, 64, 64)),
        data_preprocessor=dict(type='mmdet.DetDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3, pad_size_divisor=32),
        **options)


def loaded(*boxes: int, size=(64, 60)) -> dict:
    """A loader's batch with so many boxes in each image."""
    generator = torch.Generator().manual_seed(1)
    samples = []
    for number in boxes:
        sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0), img_id=0, sample_idx=7))
        corners = torch.rand(number, 2, generator=generator) * 25
        sample.gt_instances = InstanceData(bboxes=torch.cat([corners, corners + 30], 1), labels=torch.arange(number))
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
        samples.append(sample)
    return dict(inputs=[torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8) for _ in boxes],
                data_samples=samples)


def step(model: Distillation, data: dict, amp: str = 'off') -> dict[str, float]:
    model.train()
    params = [p for p in model.parameters() if p.requires_grad]
    optimiser = OptimWrapper(torch.optim.SGD(params, lr=1e-4), amp=amp, device='cpu')
    return {k: v.item() for k, v in model.train_step(data, optimiser).items()}


@pytest.mark.parametrize('kind', NETWORKS)
def test_students_of_all_kinds_train(kind):
    """With bf16; without a single box; and they predict."""
    model = distillation(student=NETWORKS[kind], teacher=NETWORKS[kind])
    for amp, size in (('off', (64, 60)), ('bf16', (256, 252))):  # bf16 gradients on 1x1 maps: see docs/dense.md, Limits
        logs = step(model, loaded(2, 1, size=size), amp)
        terms = {k: v for k, v in logs.items() if k not in ('loss', 'acc')}
        assert logs['loss'] == pytest.approx(sum(terms.values()), rel=1e-4) and 'test_detection.distance' in terms
        assert any(k.startswith('loss_cls') for k in terms)
    assert step(model, loaded(0, 0))['loss'] > 0
    model.eval()
    with torch.no_grad():
        found = model.val_step(loaded(1, 0))
    assert len(found) == 2 and found[0].pred_instances.bboxes.shape[1] == 4


@pytest.mark.parametrize('method', [
    dict(type='PKD'), dict(type='CWD', student_tap='neck', teacher_tap='neck'), dict(type='FGD'), dict(type='MGD'),
    dict(type='ACAM')])
def test_methods_on_features_serve_heads_of_any_kind(method):
    """RTMDet under GFL: their pyramids have three and five levels, their heads nothing in common."""
    teacher = single_stage('gfl/gfl_r50_fpn_1x_coco.py', 32)
    teacher['model']['neck'] |= dict(num_outs=3, start_level=1)
    teacher['model']['bbox_head'] |= dict(anchor_generator=dict(strides=[8, 16, 32]))
    model = distillation(student=RTMDET, teacher=teacher, distillers=[method])
    logs = step(model, loaded(2, 1))
    own = {'loss_cls', 'loss_bbox', 'loss'}
    assert own < logs.keys() and all(logs[name] > 0 for name in logs.keys() - own)


def test_losses_are_mmdets():
    """The terms equal what mmdet computes on the same preprocessed batch, in float32 and (to half precision) in bf16."""
    model = distillation(teacher=None)
    model.train()
    data = model.data_preprocessor(loaded(2, 1), training=True)
    expected = model.student.loss(data['inputs'], data['data_samples'])
    ours = model(model.data_preprocessor(loaded(2, 1), training=True))
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], sum(v.mean() for v in value))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = model(model.data_preprocessor(loaded(2, 1), training=True))
    assert all(v.dtype == torch.float32 for v in half.values())
    for name in half:
        torch.testing.assert_close(half[name], ours[name], rtol=0.05, atol=0.02)


def test_taps():
    names = ('neck.0', 'neck', 'neck.-1', 'backbone', 'backbone.1', 'head', 'head.cls_scores', 'head.bbox_preds.2',
             'head.targets', 'bbox_head.cls_convs.0', 'bbox_head.gfl_cls:input', 'backbone.layer2.0')
    model = distillation(distillers=[dict(
        type='TapReadingDistiller', student=names, teacher=tuple(n for n in names if n != 'head.targets'))])
    distiller = model.distillers['test_detection']
    assert distiller.shapes.student['head.cls_scores'][0] == (2, 10, 8, 8)
    assert distiller.shapes.student['head.targets'] is None
    assert distiller.shapes.teacher['head.bbox_preds.2'] == (2, 68, 2, 2)
    assert distiller.shapes.student_net.module is model.student and distiller.shapes.teacher_net.module is model.teacher
    step(model, loaded(2, 1))
    student, teacher, batch = distiller.seen
    assert len(student['neck']) == 5 and student['neck'][0] is student['neck.0'] and student['neck'][-1] is student['neck.-1']
    assert student['head'][0][1] is student['head.cls_scores'][1]
    assert [t.shape[1] for t in student['backbone']] == CHANNELS and student['backbone.1'].shape[1] == 16
    # a module that is called once a level gives the list over its calls
    assert [t.shape[2] for t in student['bbox_head.cls_convs.0']] == [8, 4, 2, 1, 1]
    assert len(student['bbox_head.gfl_cls:input']) == 5
    anchors, labels, *_ = student['head.targets']
    assert labels[0].shape == (2, 64) and ((labels[0] >= 0) & (labels[0] <= 10)).all()
    assert all(t.requires_grad for t in student['neck']) and not any(t.requires_grad for t in teacher['neck'])
    assert batch.images.shape == (2, 3, 64, 64) and batch.labels is None and batch.indices.tolist() == [7, 7]
    assert [len(s.gt_instances) for s in batch.extra['data_samples']] == [2, 1]
    # a further pass of the same network
    assert student.run(batch.images, ['neck.0'])['neck.0'].shape == student['neck.0'].shape


def test_one_pass_and_one_assignment():
    """A step runs each network once, assigns targets once, and the teacher computes no loss."""
    taps = ('neck.0', 'head.cls_scores', 'head.targets')
    model = distillation(distillers=[dict(type='TapReadingDistiller', student=taps, teacher=taps[:2]),
                                     dict(type='TapReadingDistiller', name='other')])
    counts = dict.fromkeys(('student backbone', 'teacher backbone', 'targets', 'teacher loss'), 0)

    def counted(name):
        def wrap(original):
            def call(*args, **kwargs):
                counts[name] += 1
                return original(*args, **kwargs)
            return call
        return wrap

    with replaced(model.student.backbone, 'forward', counted('student backbone')), \
            replaced(model.teacher.backbone, 'forward', counted('teacher backbone')), \
            replaced(model.student.bbox_head, 'get_targets', counted('targets')), \
            replaced(model.teacher.bbox_head, 'loss_by_feat', counted('teacher loss')):
        step(model, loaded(2, 1))
    assert counts == {'student backbone': 1, 'teacher backbone': 1, 'targets': 1, 'teacher loss': 0}
    assert not model.teacher.training and 'forward' not in vars(model.student.backbone)


def test_teacher_runs_only_as_far_as_taps_ask():
    model = distillation(distillers=[dict(type='TapReadingDistiller', student=['backbone.0'], teacher=['backbone.0'])])

    def forbidden(original):
        def call(*args, **kwargs):
            raise AssertionError('more of the teacher was run than anyone reads')
        return call

    with replaced(model.teacher.neck, 'forward', forbidden):
        step(model, loaded(1))


def test_fcos_teacher_gives_what_it_gives_in_training():
    """FCOS multiplies distances by the stride in eval mode, which would make teacher and student incomparable."""
    fcos = dict(NETWORKS['fcos'], model=dict(NETWORKS['fcos']['model'], bbox_head=dict(
        NETWORKS['fcos']['model']['bbox_head'], norm_on_bbox=True)))
    model = distillation(student=fcos, teacher=fcos)
    model.eval()
    images = torch.randn(1, 3, 64, 64)
    raw = model.teacher_reader(images, ['head.bbox_preds'])['head.bbox_preds'][1]
    scaled = model.teacher._forward(images)[1][1]
    torch.testing.assert_close(raw * 16, scaled)
    assert not model.teacher.bbox_head.training


def test_refusals():
    with pytest.raises(ValueError, match='compares class scores, but the teacher has 7 classes and the student 10'):
        distillation(teacher=dict(GFL, num_classes=7), distillers=[dict(
            type='TapReadingDistiller', student=['head.cls_scores.0'], teacher=['head.cls_scores.0'])])
    distillation(teacher=dict(GFL, num_classes=7))  # features may be compared
    with pytest.raises(ValueError, match='The student has 7 classes and the data 10'):
        distillation(student=dict(GFL, num_classes=7))
    with pytest.raises(UnknownNameError, match='DeformableDETR has no dense head'):
        distillation(teacher=NETWORKS['deformable_detr'], distillers=[dict(
            type='TapReadingDistiller', student=['neck.0'], teacher=['head.cls_scores.0'])])
    with pytest.raises(UnknownNameError, match=r"Tap 'neck.9' does not exist: there are 5 entries"):
        distillation(distillers=[dict(type='TapReadingDistiller', student=['neck.9'])])
    with pytest.raises(UnknownNameError, match='head.cls_scores'):
        distillation(distillers=[dict(type='TapReadingDistiller', student=['head.cls_score.0'])])
    with pytest.raises(ValueError, match='GFL cannot run on an image.*check in_channels'):
        distillation(student=dict(GFL, model=dict(GFL['model'], neck=dict(in_channels=[9, 16, 32, 64], start_level=0))))
    with pytest.raises(ValueError, match='random weights'):
        distillation(teacher=dict(GFL, untrained=False, pretrained=True))


def test_inherit():
    wide = dict(GFL, model=dict(GFL['model'], backbone=dict(BACKBONE, base_channels=16), neck=dict(
        in_channels=[16, 32, 64, 128], out_channels=64)))
    model = distillation(student=dict(GFL, inherit=('bbox_head',)), teacher=wide)
    for key, value in model.teacher.bbox_head.state_dict().items():
        assert torch.equal(value, model.student.bbox_head.state_dict()[key])
    assert 'inherit' not in model.student.build_config
    with pytest.raises(ValueError, match=r'neck.lateral_convs.0.conv.weight is \[64, 32, 1, 1\] in the teacher and '
                                         r'\[64, 16, 1, 1\] in the student'):
        distillation(student=dict(GFL, inherit=('neck', 'bbox_head')), teacher=wide)
    with pytest.raises(UnknownNameError, match='bbox_head'):
        distillation(inherit=('bbox_haed',))


def test_teacher_input_of_its_own_statistics():
    """Other mean, deviation and channel order; the padding stays what it was."""
    own = dict(GFL, model=dict(GFL['model'], data_preprocessor=dict(
        mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0], bgr_to_rgb=True)))
    model = distillation(teacher=dict(own, input='own'))
    adapter = model.teacher_reader.prepare
    assert isinstance(adapter, DenseInputAdapter)
    data = loaded(1)
    batch = model.data_preprocessor(loaded(1), training=True)
    from mmdet.models import DetDataPreprocessor
    expected = DetDataPreprocessor(mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0], bgr_to_rgb=True,
                                   pad_size_divisor=32)(data)
    torch.testing.assert_close(adapter(batch['inputs'], batch['data_samples']), expected['inputs'], atol=1e-5, rtol=1e-5)
    assert batch['inputs'].shape[3] == 64 and (expected['inputs'][..., 60:] == 0).all()  # 4 columns are padding
    assert distillation().teacher_reader.prepare is None


def test_wrong_batches_are_told():
    model = distillation()
    model.train()
    with pytest.raises(ValueError, match='PackDetInputs'):
        model(dict(images=torch.zeros(1, 3, 64, 64)))
