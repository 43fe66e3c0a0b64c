"""What holds for every distiller of detectors, on tiny pairs of mmdet's."""
import functools
import io
import math
from types import SimpleNamespace

import pytest
import torch

from tests.distillers.tiny_detectors import CLASSES, batch, detector, distiller_terms, pair
from zoo.distillers import dkd_loss, nd_loss
from zoo.distillers.dense_heads import DenseHead, gt_boxes, process_mean, refuse_unlike

NECK = dict(student_tap='neck', teacher_tap='neck')
METHODS = {
    'bckd': dict(type='BCKD'), 'ld': dict(type='LD', im_weight=2.0), 'pkd': dict(type='PKD'), 'fgd': dict(type='FGD'),
    'mgd': dict(type='MGD'), 'cwd': dict(type='CWD', **NECK), 'acam_kd': dict(type='ACAM'),
    'crosskd': dict(type='CrossKD', cut=1), 'distildoc': dict(type='DistilDoc'),
    'feature_regression': dict(type='FeatureRegression', student_feat='neck', teacher_feat='neck', normalize=False),
    'dkd': dict(type='DKD', warmup_epochs=0, at_positives=True),
    'nd': dict(type='ND', at_positives=True, student_tap='bbox_head.gfl_cls:input', teacher_tap='bbox_head.gfl_cls:input'),
}
HEADS = [(slug, kind) for slug in ('bckd', 'crosskd') for kind in ('retina', 'fcos', 'fcos_strides', 'atss')]
HEADS += [('dkd', 'retina'), ('dkd', 'fcos')]
CASES = [(slug, 'gfl') for slug in METHODS] + HEADS
every_case = pytest.mark.parametrize(('slug', 'kind'), CASES, ids=['-'.join(case) for case in CASES])


@functools.cache
def shared(slug, kind='gfl'):
    """One pair for all the tests of a case, which may train it on."""
    model = pair(METHODS[slug], kind)
    model.prepare(training_set(model))
    return model


def training_set(model):
    """Three batches, in which every class has an object."""
    def teacher_outputs(names, augment=False):
        for label in range(CLASSES):
            data = batch((1, 1))
            for sample in data['data_samples']:
                sample.gt_instances.labels[:] = label
            with torch.no_grad():
                images = model.task.batch(data)
                yield model.task.run(model.teacher_reader, images, names), images
    return SimpleNamespace(teacher_outputs=teacher_outputs, cached=lambda key, compute: compute())


def parameters(model):
    return [p for p in model.student.parameters() if p.requires_grad] + [
        p for _, group in model.param_groups() for p in group['params']]


@every_case
def test_the_loss_falls(slug, kind):
    model, data = shared(slug, kind), batch()
    optimizer = torch.optim.Adam(parameters(model), lr=2e-3)
    losses = []
    for _ in range(6):
        terms = distiller_terms(model, data)
        assert terms and all(value.requires_grad and value.isfinite() for value in terms.values()), terms
        loss = sum(terms.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert 0 < losses[-1] < losses[0], losses
    assert all(p.grad is None for p in model.teacher.parameters())


@every_case
def test_images_without_objects(slug, kind):
    """Finite, with a graph, and no step that throws the student away."""
    model = shared(slug, kind)
    for boxes in ((0, 0), (1, 0), (0,)):
        terms = distiller_terms(model, batch(boxes))
        loss = sum(terms.values())
        assert loss.requires_grad and 0 <= loss.item() < 1e4, terms
        model.zero_grad()
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize('slug', METHODS)
def test_under_autocast(slug):
    model, data = shared(slug), batch()
    expected = distiller_terms(model, data)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        terms = distiller_terms(model, data)
    model.zero_grad()
    sum(terms.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    for name, value in terms.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[name], rtol=0.3, atol=0.02)


@pytest.mark.parametrize('slug', METHODS)
def test_state_is_saved_and_loaded(slug):
    model, fresh, data = shared(slug), pair(METHODS[slug]), batch()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    with torch.no_grad():
        for p in fresh.parameters():
            p.add_(0.1)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    expected, got = distiller_terms(model, data), distiller_terms(fresh, data)
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value)
    assert not any('teacher' in key and 'distillers' not in key for key in model.state_dict())


@pytest.mark.parametrize('slug', ['pkd', 'fgd', 'mgd', 'cwd', 'acam_kd', 'feature_regression'])
def test_feature_methods_join_different_detectors(slug):
    """A RetinaNet student under a GFL teacher, of other widths where the method aligns them."""
    width = 8 if slug == 'pkd' else 12
    model = pair(METHODS[slug], student=detector('retina', width=width), teacher=detector('gfl'))
    assert all(value.isfinite() and value > 0 for value in distiller_terms(model, batch()).values())


# ---- refusals, all while the model is built

@pytest.mark.parametrize(('slug', 'change', 'message'), [
    ('bckd', dict(anchor_generator=dict(strides=[8, 16, 32, 64, 256])), 'strides.*256'),
    ('bckd', dict(anchor_generator=dict(octave_base_scale=4)), 'the anchors of'),
    ('bckd', dict(loss_cls=dict(use_sigmoid=False, type='CrossEntropyLoss')), 'softmax|no get|use_sigmoid'),
    ('ld', dict(reg_max=8), r'reg_max.*16 and 8|reg_max.*8 and 16'),
    ('crosskd', dict(reg_max=8), r'reg_max'),
    ('crosskd', dict(feat_channels=12), 'feat_channels'),
    ('crosskd', dict(stacked_convs=0), 'cut=1'),
], ids=lambda value: value if isinstance(value, str) and len(value) < 8 else '')
def test_unlike_heads_are_refused(slug, change, message):
    change = dict(change)
    if change.get('loss_cls'):
        del change['loss_cls']['type']
        head = detector('gfl', seed=1)
        head.bbox_head.cls_out_channels = CLASSES + 1
    else:
        head = detector('gfl', seed=1, **change)
    with pytest.raises(ValueError, match=message):
        pair(METHODS[slug], student=head)


def test_anchors_per_position_are_compared():
    few = detector('retina', anchor_generator=dict(scales_per_octave=1))
    with pytest.raises(ValueError, match='anchors per position.*3 and 9'):
        pair(METHODS['bckd'], student=few, teacher=detector('retina'))


@pytest.mark.parametrize('slug', ['bckd', 'ld', 'crosskd'])
def test_other_kinds_and_classes_are_refused(slug):
    with pytest.raises(ValueError, match=r'RetinaHead|RetinaNet'):
        pair(METHODS[slug], student=detector('retina'))
    with pytest.raises(ValueError, match='4 classes'):
        pair(METHODS[slug], teacher=detector('gfl', classes=CLASSES + 1))


@pytest.mark.parametrize('slug', ['bckd', 'ld', 'dkd'])
def test_a_teacher_of_larger_images_is_refused(slug):
    with pytest.raises(ValueError, match=r'sizes of the first level .*\(8, 8\) and \(16, 16\)'):
        pair(METHODS[slug], teacher_input=dict(size=128))


def test_networks_without_a_dense_head_are_refused():
    with pytest.raises(ValueError, match='GFL, ATSS, RetinaNet, FCOS.*student has Linear'):
        DenseHead(torch.nn.Linear(1, 1), 'BCKD', 'student')


@pytest.mark.parametrize('slug', ['fgd', 'mgd', 'cwd', 'acam_kd'])
def test_pyramids_of_other_strides_are_refused(slug):
    taps = dict(student_tap='backbone', teacher_tap='neck', levels=(0, 1, 2))
    with pytest.raises(ValueError, match='same strides: level 0 is .16, 16. in the student'):
        pair(METHODS[slug] | taps)
    with pytest.raises(ValueError, match='level 7'):
        pair(METHODS[slug] | dict(levels=(7,)))


# ---- heads

@pytest.mark.parametrize('kind', ['gfl', 'retina', 'fcos', 'fcos_strides', 'atss'])
def test_targets_are_those_of_the_heads_own_loss(kind):
    """One row a prior, and mmdet's own normaliser."""
    net, data = detector(kind).train(), batch()
    head = DenseHead(net, 'X', 'student')
    caught = {}
    original = net.bbox_head.get_targets
    net.bbox_head.get_targets = lambda *args, **kwargs: caught.setdefault('raw', original(*args, **kwargs))
    net.loss(batch_inputs=data['inputs'], batch_data_samples=data['data_samples'])
    targets = head.targets(caught['raw'], 2)
    scores = net.bbox_head(net.extract_feat(data['inputs']))[0]
    priors = head.priors(scores)
    for level, score in enumerate(scores):
        count = score.shape[2] * score.shape[3] * score.shape[1] // CLASSES
        assert targets.labels[level].shape == targets.label_weights[level].shape == (2, count)
        assert len(priors[level]) == count and targets.boxes[level].shape == (2, count, 4)
    positives = sum(head.positive(labels).sum() for labels in targets.labels)
    assert positives > 0 and float(targets.num_positives) == positives
    assert head.strides == [8, 16, 32, 64, 128]


@pytest.mark.parametrize('kind', ['retina', 'fcos', 'fcos_strides', 'atss'])
def test_boxes_are_those_of_mmdets_predictions(kind):
    """Decoded here from what a head gives in training, and by mmdet in evaluation (unclipped images, no NMS)."""
    net, data = detector(kind), batch()
    head = DenseHead(net, 'X', 'teacher')
    feats = net.extract_feat(data['inputs'][:1])
    net.bbox_head.train()
    raw = net.bbox_head(feats)
    own = torch.cat([head.boxes(x, p, i) for i, (x, p) in enumerate(zip(raw[1], head.priors(raw[0])))])
    net.bbox_head.eval()
    cfg = net.bbox_head.test_cfg.copy()
    cfg.update(score_thr=-1.0, nms_pre=10**6, min_bbox_size=-1)
    found = net.bbox_head.predict_by_feat(*net.bbox_head(feats), batch_img_metas=[dict(img_shape=(9999, 9999),
                                          scale_factor=(1.0, 1.0))], cfg=cfg, rescale=False, with_nms=False)[0]
    inside = (own[:, :2] >= 0).all(1)
    expected = found.bboxes[found.labels == 0]
    assert inside.any() and torch.cdist(own[inside], expected, compute_mode='donot_use_mm_for_euclid_dist').amin(1).max() < 1e-2


def test_refusing_names_both_sides():
    own, other = (DenseHead(detector(kind), 'X', side) for kind, side in (('gfl', 'student'), ('atss', 'teacher')))
    with pytest.raises(ValueError, match='GFL and ATSS'):
        refuse_unlike(own, other, 'X')


def test_process_mean_and_boxes():
    value = torch.tensor(3.0, requires_grad=True)
    assert process_mean(value) == 3 and not process_mean(value).requires_grad
    assert [len(boxes) for boxes in gt_boxes(batch()['data_samples'])] == [2, 1]
    assert math.isclose(gt_boxes(batch()['data_samples'])[0][0, 2], 40)


# ---- methods of classifiers on the places of objects

@pytest.mark.parametrize('kind', ['gfl', 'retina'])
def test_classifiers_losses_at_positives(kind):
    """RetinaNet has nine anchors a position, which share its embedding."""
    tap = {'gfl': 'bbox_head.gfl_cls:input', 'retina': 'bbox_head.retina_cls:input'}[kind]
    model, data = pair(dict(METHODS['nd'], student_tap=tap, teacher_tap=tap), kind), batch()
    model.prepare(training_set(model))
    means = model.distillers['nd'].class_means
    names = (tap, 'head.cls_scores', 'head.targets')
    student, _ = model.student_reader.loss(data['inputs'], data['data_samples'], names)
    teacher = model.teacher_reader(data['inputs'], names[:2])
    offset = 1 if kind == 'gfl' else 0
    rows = {key: [] for key in ('s', 't', 's_logits', 't_logits', 'labels')}
    for level, labels in enumerate(student['head.targets'][offset]):
        height, width = student[tap][level].shape[2:]
        for n, place in ((labels >= 0) & (labels < CLASSES)).nonzero().tolist():
            anchors = labels.shape[1] // (height * width)
            y, x, a = place // anchors // width, place // anchors % width, place % anchors
            for key, taps in (('s', student), ('t', teacher)):
                rows[key].append(taps[tap][level][n, :, y, x])
                rows[f'{key}_logits'].append(taps['head.cls_scores'][level][n, a * CLASSES:(a + 1) * CLASSES, y, x])
            rows['labels'].append(labels[n, place])
    s, t, s_logits, t_logits, labels = (torch.stack(rows[key]) for key in rows)
    torch.testing.assert_close(distiller_terms(model, data)['nd'], nd_loss(s, t, centers=means[labels]))
    dkd = pair(METHODS['dkd'], kind, student=model.student, teacher=model.teacher)
    torch.testing.assert_close(distiller_terms(dkd, data)['dkd'], dkd_loss(s_logits, t_logits, labels))
