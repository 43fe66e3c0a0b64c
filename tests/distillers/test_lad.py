"""LAD: slow references, the label-assisted teacher, and its two stages on tiny segmentors."""
import io

import pytest
import torch
import torch.nn.functional as F

from zoo.distillers import cwd_loss, lad_consistency_loss, lad_student_loss, lad_teacher_loss

SIZE, K = 32, 4


def double(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- functions

def slow_cwd(student, teacher, temperature):
    total = 0
    for s, t in zip(student.flatten(0, 1).flatten(1), teacher.flatten(0, 1).flatten(1)):
        p, q = (s / temperature).softmax(0), (t / temperature).softmax(0)
        total = total + (q * (q / p).log()).sum()
    return temperature**2 * total / (student.shape[0] * student.shape[1])


def slow_cross_entropy(logits, labels, ignore_index):
    logits = F.interpolate(logits, labels.shape[1:], mode='bilinear', align_corners=True).permute(0, 2, 3, 1)
    keep = labels != ignore_index
    return -logits[keep].log_softmax(1).gather(1, labels[keep][:, None]).mean()


@pytest.mark.parametrize('aux', [False, True])
def test_teacher_and_student_losses_by_definition(aux):
    a, b, aux_a, aux_b = (double(2, K, 3, 4, seed=s) for s in range(4))
    labels = torch.randint(K, (2, 9, 8), generator=torch.Generator().manual_seed(0))
    labels[0, :4] = 255
    further = (aux_a, aux_b) if aux else (None, None)
    got = lad_teacher_loss(a, b, labels, *further, temperature=2.0, consistency_weight=3.0, aux_weight=0.5, ignore_index=255)
    task = [slow_cross_entropy(x, labels, 255) * w for x, w in ((a, 1), (b, 1), (aux_a, 0.5 * aux), (aux_b, 0.5 * aux))]
    torch.testing.assert_close(got['task'], sum(task))
    torch.testing.assert_close(got['consistency'], 3 * (slow_cwd(a, b, 2.0) + slow_cwd(b, a, 2.0)))
    got = lad_student_loss(a, b, labels, further[0], temperature=2.0, kd_weight=1.5, aux_weight=0.1, ignore_index=255)
    task = slow_cross_entropy(a, labels, 255) + 0.1 * aux * slow_cross_entropy(aux_a, labels, 255)
    torch.testing.assert_close(got['task'], task)
    torch.testing.assert_close(got['kd'], 1.5 * slow_cwd(a, b, 2.0))


def test_both_paths_get_gradient_each_from_one_direction():
    a, b = double(2, K, 3, 3).requires_grad_(), double(2, K, 3, 3, seed=1).requires_grad_()
    loss = lad_consistency_loss(a, b)
    torch.testing.assert_close(loss, lad_consistency_loss(b, a))
    grads = torch.autograd.grad(loss, (a, b))
    torch.testing.assert_close(grads[0], torch.autograd.grad(cwd_loss(a, b.detach()), a)[0])
    torch.testing.assert_close(grads[1], torch.autograd.grad(cwd_loss(b, a.detach()), b)[0])
    assert lad_consistency_loss(a, a).abs() < 1e-12


def test_everything_ignored_is_finite():
    a, b = double(1, K, 3, 3).requires_grad_(), double(1, K, 3, 3, seed=1)
    labels = torch.full((1, 6, 6), 255)
    for terms in (lad_teacher_loss(a, b, labels, a, b, ignore_index=255), lad_student_loss(a, b, labels, a, ignore_index=255)):
        assert terms['task'] == 0
        assert torch.autograd.grad(sum(terms.values()), a)[0].isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_finite(dtype):
    logits = (50 * torch.randn(1, K, 3, 3).sign()).to(dtype)
    labels = torch.zeros(1, 6, 6, dtype=torch.long)
    for terms in (lad_teacher_loss(logits, -logits, labels), lad_student_loss(logits, -logits, labels)):
        assert all(value.isfinite() and value.dtype == torch.float32 for value in terms.values())


# ---- networks

def fcn(width=4, **options):
    """A ResNet-18 of ``width`` channels with FCN heads; logits at stride 8."""
    norm, head = dict(type='BN'), dict(type='FCNHead', num_convs=1, concat_input=False, num_classes=K, channels=8)
    model = dict(
        type='EncoderDecoder',
        backbone=dict(type='ResNet', depth=18, base_channels=width, stem_channels=width, strides=(1, 2, 1, 1),
                      dilations=(1, 1, 1, 1), norm_cfg=norm, norm_eval=False),
        decode_head=dict(head, in_channels=8 * width, in_index=3, norm_cfg=norm),
        auxiliary_head=dict(head, in_channels=4 * width, in_index=2, norm_cfg=norm,
                            loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4)),
        train_cfg={}, test_cfg=dict(mode='whole'))
    return dict(dict(type='MMSegModel', model=model), **options)


def assisted(width=4, **options):
    return fcn(width, **{'type': 'LabelAssistedSegmentor', **options})


def made(student, teacher=None, distillers=(), std=50.0):
    pytest.importorskip('mmseg')
    from zoo.tasks import Distillation
    torch.manual_seed(0)
    return Distillation(
        student=student, teacher=teacher, distillers=list(distillers),
        task=dict(type='Segmentation', num_classes=K, input_shape=(3, SIZE, SIZE)),
        data_preprocessor=dict(type='mmseg.SegDataPreProcessor', mean=(120.0,) * 3, std=(std,) * 3, size=(SIZE, SIZE)))


def data(ori=None, ignored=False, seed=0, height=SIZE):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample
    g = torch.Generator().manual_seed(seed)
    samples = []
    for _ in range(2):
        label = torch.randint(K, (1, 4, 4), generator=g).repeat_interleave(8, 1).repeat_interleave(8, 2)[:, :height]
        if ignored:
            label = torch.full_like(label, 255)
        if ori is not None:
            label = F.interpolate(label[None].float(), ori)[0].long()
        sample = SegDataSample(metainfo=dict(img_shape=(height, SIZE), ori_shape=ori or (height, SIZE), pad_shape=(SIZE, SIZE)))
        sample.gt_sem_seg = PixelData(data=label)
        samples.append(sample)
    return dict(inputs=[torch.randint(256, (3, height, SIZE), generator=g).float() for _ in samples], data_samples=samples)


def terms_of(model, **options):
    return model(model.data_preprocessor(data(**options), training=True), mode='loss')


def test_stem_has_a_fourth_channel_and_keeps_the_others():
    pytest.importorskip('mmseg')
    from zoo.models import build_network
    net = build_network(assisted(scale=1.0), num_classes=K)
    plain = build_network(fcn(), num_classes=K)
    assert set(net.state_dict()) ^ set(plain.state_dict()) == {'label_scale'}
    stem = net.backbone.conv1
    assert stem.weight.shape[1] == stem.in_channels == 4
    further = stem.weight[:, 3:].detach()
    assert 0 < further.abs().max() < 1e-2
    plain.load_state_dict({k: v[:, :3] if k == 'backbone.conv1.weight' else v for k, v in net.state_dict().items()
                           if k != 'label_scale'})
    images = torch.randn(1, 3, SIZE, SIZE)
    with torch.no_grad():  # without labels the channel is zero: a plain network of three channels is the same
        torch.testing.assert_close(net.eval()(images), plain.eval()(images))


def test_scale_follows_from_the_normalisation_and_is_kept():
    model = made(assisted(), std=50.0)
    assert float(model.student.label_scale) == pytest.approx(2.0)
    state = model.student.state_dict()
    teacher = made(assisted(scale=7.0)).student
    assert float(teacher.label_scale) == 7
    teacher.load_state_dict(state)
    teacher.normalised_by(model.data_preprocessor)
    assert float(teacher.label_scale) == pytest.approx(2.0), 'the second stage takes that of the first'
    with pytest.raises(ValueError, match='set scale of LabelAssistedSegmentor'):
        from zoo.models import build_network
        build_network(assisted(), num_classes=K).with_labels(torch.zeros(2, 3, SIZE, SIZE), data()['data_samples'])


def test_input_is_image_label_and_noise():
    net = made(assisted(noise='ramp', pixel_sigma=0.0)).student
    batch = data(height=24)
    composed = net.with_labels(torch.zeros(2, 3, SIZE, SIZE), batch['data_samples'])
    labels = torch.stack([s.gt_sem_seg.data for s in batch['data_samples']])
    torch.testing.assert_close(composed[:, 3:, :24], (labels - 2.5) / 10 * 2)
    assert (composed[:, 3, 24:] - 0.3).abs().max() < 1e-6, 'padding is ignored: the last column of the ramp'
    assert net.compose_input(composed) is composed
    drawn = made(assisted(pixel_sigma=0.0)).student
    first, second = (drawn.with_labels(torch.zeros(2, 3, SIZE, SIZE), batch['data_samples']) for _ in range(2))
    assert not torch.equal(first, second), 'drawn anew for each path'


def test_validation_sees_the_ground_truth_and_is_repeatable():
    """Annotations of another size than the image come to its size; without them a sentence."""
    model = made(assisted())
    model.eval()
    net, batch = model.student, data(ori=(48, 40))
    images = torch.stack(batch['inputs'])
    seen = []
    net.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    for _ in range(2):
        prediction = net.predict(images, batch['data_samples'])[0]
    assert prediction.pred_sem_seg.data.shape == (1, 48, 40)
    torch.testing.assert_close(seen[0], seen[1])
    assert seen[0].shape[1] == 4 and seen[0][:, 3].std() > 0
    assert 'noised ground truth' in net.privileged
    with pytest.raises(ValueError, match='use the student'):
        net.predict(images)


# ---- stages

def test_first_stage_lowers_the_loss():
    model = made(assisted(8), distillers=[dict(type='LADTeacher')])
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(12):
        terms = terms_of(model)
        assert set(terms) == {'decode.loss_ce', 'aux.loss_ce', 'lad.second', 'lad.consistency'}
        loss = sum(terms.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    terms = terms_of(model, ignored=True)
    assert all(value.isfinite() for value in terms.values())


def test_second_path_has_the_losses_of_the_first():
    """With the same noise on both paths (a ramp without pixel noise), and no dropout."""
    model = made(assisted(noise='ramp', pixel_sigma=0.0), distillers=[dict(type='LADTeacher', second_weight=2.0)])
    model.eval()
    terms = terms_of(model)
    torch.testing.assert_close(terms['lad.second'], 2 * (terms['decode.loss_ce'] + terms['aux.loss_ce']))
    assert terms['lad.consistency'].abs() < 1e-6


def test_second_stage_learns_from_the_released_teacher(tmp_path):
    """The file of stage 1 is the teacher; the student's file is a plain network of three channels."""
    from zoo.models.released import load_released, save_released
    path = save_released(made(assisted(8)).student, tmp_path / 'teacher.safetensors')
    teacher = assisted(8, noise='ramp', pixel_sigma=0.02, checkpoint=str(path))
    model = made(fcn(), teacher, [dict(type='LAD')])
    model.train()
    assert float(model.teacher.label_scale) == pytest.approx(2.0)
    seen = []
    model.teacher.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[1]))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(12):
        terms = terms_of(model)
        assert set(terms) == {'decode.loss_ce', 'aux.loss_ce', 'lad'}
        loss = sum(terms.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert seen == [4] * 12
    released = load_released(save_released(model.student, tmp_path / 'student.safetensors'))
    assert released.backbone.conv1.in_channels == 3 and not hasattr(released, 'compose_input')
    images = torch.randn(1, 3, SIZE, SIZE)
    with torch.no_grad():
        torch.testing.assert_close(released(images), model.student.eval()(images))
    assisted_again = load_released(path)
    assert assisted_again.backbone.conv1.in_channels == 4 and float(assisted_again.label_scale) == pytest.approx(2.0)


def test_term_equals_the_function():
    teacher = assisted(8, noise='ramp', pixel_sigma=0.0, scale=2.0, untrained=True)
    model = made(fcn(), teacher, [dict(type='LAD', kd_weight=1.0)])
    model.eval()
    batch = data()
    processed = model.data_preprocessor(batch, training=True)
    with torch.no_grad():
        student = model.student(processed['inputs'])
        composed = model.teacher.with_labels(processed['inputs'], processed['data_samples'])
        teacher = model.teacher(composed)
        torch.testing.assert_close(model(processed, mode='loss')['lad'], cwd_loss(student, teacher))


def test_state_of_the_first_stage_is_restored():
    model = made(assisted(), distillers=[dict(type='LADTeacher')])
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    fresh = made(assisted(), distillers=[dict(type='LADTeacher')], std=10.0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    results = []
    for each in (model, fresh):
        each.eval()
        torch.manual_seed(1)
        each.data_preprocessor.std.fill_(50.0)
        results.append(terms_of(each))
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value)


@pytest.mark.parametrize(('student', 'teacher', 'distiller', 'message'), [
    (fcn(), fcn(untrained=True), 'LAD', 'For an ordinary teacher use CWD'),
    (assisted(), assisted(scale=1.0, untrained=True), 'LAD', 'do without the labels'),
    (fcn(), None, 'LADTeacher', 'LabelAssistedSegmentor'),
    (fcn(), None, 'LAD', 'model.teacher is None'),
    (fcn(), assisted(scale=1.0), 'LAD', 'random weights'),
    (assisted(noise='uniform'), None, 'LADTeacher', "'normal' or 'ramp'"),
])
def test_refused_before_the_first_step(student, teacher, distiller, message):
    with pytest.raises(ValueError, match=message):
        made(student, teacher, [dict(type=distiller)])
