import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.distillers import E2KD, Batch, Progress, Shapes, e2kd_loss, gradcam_map
from zoo.models import CifarResNet
from zoo.taps import TapReader

NAMES = ('logits', 'final_map')


def networks():
    torch.manual_seed(0)
    student = CifarResNet(depth=8, widths=(4, 4, 6, 8), num_classes=5)
    teacher = CifarResNet(depth=8, widths=(4, 4, 8, 12), num_classes=5).eval().requires_grad_(False)
    return TapReader(student), TapReader(teacher)


def teacher_taps(reader, images):
    return reader(images.detach().requires_grad_(), NAMES)  # as under Needs.teacher_graph


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), scale=st.floats(0.1, 10), temperature=st.floats(0.5, 8))
def test_laws_of_the_loss(seed, scale, temperature):
    generator = torch.Generator().manual_seed(seed)
    logits, other = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    maps = torch.rand(3, 1, 4, 4, generator=generator, dtype=torch.float64)
    same = e2kd_loss(logits + scale, logits, maps * scale, maps, temperature=temperature)
    assert abs(same['kd']) < 1e-9 and abs(same['explanation']) < 1e-9
    terms = e2kd_loss(logits, other, maps.flip(2), maps, temperature=temperature, explanation_weight=3.0)
    assert terms['kd'] > 0 and 0 <= terms['explanation'] <= 3


def test_explanation_is_gradcam_of_the_teachers_class():
    student, teacher = networks()
    distiller, images = E2KD(explanation_weight=2.0), torch.randn(4, 3, 16, 16)
    student_taps, target = student(images, NAMES), teacher_taps(teacher, images)
    terms = distiller(student_taps, target, Batch(images), Progress())
    classes, maps = target['logits'].argmax(1), []
    for reader, taps in ((student, student_taps), (teacher, target)):  # pooling and one linear layer: a closed form
        weight = reader.module.fc.weight[classes][:, :, None, None] / 16
        cam = F.relu((weight * taps['final_map']).sum(1, keepdim=True))
        maps.append(F.interpolate(cam, size=(16, 16), mode='bilinear').flatten(1))
    expected = 2 * (1 - F.cosine_similarity(*maps)).mean()
    torch.testing.assert_close(terms['explanation'], expected)
    terms['explanation'].backward()
    assert student.module.conv1.weight.grad.abs().sum() > 0
    assert student.module.fc.weight.grad.abs().sum() > 0  # through the gradient itself, differentiated twice
    assert all(p.grad is None for p in teacher.module.parameters())


def test_steps_lower_the_loss():
    student, teacher = networks()
    distiller, images = E2KD(), torch.randn(8, 3, 16, 16)
    optimizer = torch.optim.SGD(student.module.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(8):
        terms = distiller(student(images, NAMES), teacher_taps(teacher, images), Batch(images), Progress())
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        losses.append(sum(terms.values()).item())
    assert losses[-1] < 0.9 * losses[0]


def test_interval_and_weights():
    student, teacher = networks()
    images = torch.randn(2, 3, 16, 16)
    distiller = E2KD(guided_step_interval=4, kd_weight=0.5, temperature=5.0)
    terms = [distiller(student(images, NAMES), teacher_taps(teacher, images), Batch(images), Progress(iteration=i))
             for i in range(5)]
    assert [bool(t['explanation'] > 0) for t in terms] == [True, False, False, False, True]
    full = E2KD(temperature=5.0)(student(images, NAMES), teacher_taps(teacher, images), Batch(images), Progress())
    torch.testing.assert_close(terms[0]['kd'] * 2, full['kd'], rtol=1e-3, atol=1e-5)


def test_works_under_autocast():
    student, teacher = networks()
    images = torch.randn(2, 3, 16, 16)
    with torch.autocast('cpu', torch.bfloat16):
        student_taps, target = student(images, NAMES), teacher_taps(teacher, images)
    assert dict.__getitem__(student_taps, 'final_map').dtype == torch.bfloat16
    terms = E2KD()(student_taps, target, Batch(images), Progress())
    sum(terms.values()).backward()
    assert all(v.isfinite() for v in terms.values()) and student.module.conv1.weight.grad.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_finite_in_half_precision(dtype):
    logits = torch.tensor([[50.0, -50.0, 0.0]], dtype=dtype)
    feat = torch.full((1, 3, 4, 4), 50.0, dtype=dtype)
    cam = gradcam_map(feat, feat, size=(8, 8))
    terms = e2kd_loss(logits, -logits, cam, cam)
    assert cam.isfinite().all() and all(v.isfinite() for v in terms.values())


def test_a_student_map_of_zeros():
    feat = torch.full((2, 3, 4, 4), -1.0, requires_grad=True)
    cam = gradcam_map(feat, torch.ones(2, 3, 4, 4), size=(8, 8))
    loss = e2kd_loss(torch.zeros(2, 3), torch.zeros(2, 3), cam, torch.rand(2, 1, 8, 8))['explanation']
    loss.backward()
    assert loss == 1 and feat.grad.abs().sum() == 0
    assert gradcam_map(feat, feat).shape == (2, 1, 4, 4)


def test_bad_input():
    student, teacher = networks()
    images = torch.randn(2, 3, 16, 16)
    with pytest.raises(ValueError, match='counts iterations'):
        E2KD(guided_step_interval=0)
    with torch.no_grad():
        plain = teacher(images, NAMES)
    with pytest.raises(ValueError, match='carry no graph'):
        E2KD()(student(images, NAMES), plain, Batch(images), Progress())
    taps = student(images, NAMES)
    taps['final_map'] = torch.randn(2, 3, 4, 4, requires_grad=True)
    with pytest.raises(ValueError, match='do not depend'):
        E2KD()(taps, teacher_taps(teacher, images), Batch(images), Progress())
    with pytest.raises(ValueError, match="teacher's tap"):
        E2KD(teacher_feat='pooled').build(Shapes({'final_map': torch.Size((2, 3, 4, 4))},
                                                 {'pooled': torch.Size((2, 3))}))
