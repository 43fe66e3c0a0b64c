import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zoo.distillers import Batch, Progress, Shapes, SimKD, SimKDProjector, SimKDStudent
from zoo.models import build_network
from zoo.registry import MODELS
from zoo.taps import TapReader

STUDENT = dict(type='CifarResNet', depth=8, widths=[4, 4, 6, 8], num_classes=10)
TEACHER = dict(type='CifarResNet', depth=8, widths=[4, 4, 8, 12], num_classes=10)


def adapted(student=None, size=16, **options):
    torch.manual_seed(0)
    student = build_network(STUDENT) if student is None else student
    teacher = build_network(TEACHER).eval().requires_grad_(False)
    example = torch.zeros(2, 3, size, size)
    readers = TapReader(student, example), TapReader(teacher, example)
    shapes = Shapes(*(reader.shapes(['final_map'], example) for reader in readers), num_classes=10,
                    student_net=readers[0], teacher_net=readers[1])
    distiller = SimKD(**options)
    student = distiller.adapt_student(student, teacher, shapes)
    reader = TapReader(student, example)
    distiller.build(Shapes(reader.shapes(['final_map'], example), shapes.teacher, 10, reader, readers[1]))
    return distiller, student, teacher


def test_projector_pools_the_student_where_it_is_higher():
    torch.manual_seed(0)
    projector = SimKDProjector(3, 6, factor=3).eval()
    student, teacher = torch.randn(2, 3, 8, 6), torch.randn(2, 6, 4, 3)
    weight = torch.randn(5, 6)
    result = projector(student, teacher, weight, None)
    moved = projector.transfer(F.adaptive_avg_pool2d(student, (4, 3)))
    torch.testing.assert_close(result['student_feat'], moved)
    torch.testing.assert_close(result['loss'], (moved - teacher).square().mean())
    torch.testing.assert_close(result['logits'], moved.mean((2, 3)) @ weight.t())
    assert projector.transfer[3].in_channels == 2 and moved.min() == 0
    assert len(SimKDProjector(3, 6, final_relu=False).transfer) == 8


def test_student_predicts_with_the_frozen_classifier_of_the_teacher():
    distiller, student, teacher = adapted()
    images = torch.randn(4, 3, 16, 16)
    student.eval()
    taps = student.forward_taps(images)
    backbone = build_network(STUDENT)
    backbone.load_state_dict(student.student.state_dict(), strict=False)
    expected = student.projector.transfer(backbone.eval().forward_taps(images)['final_map'])
    torch.testing.assert_close(taps['final_map'], expected)
    torch.testing.assert_close(student(images), teacher.fc(expected.mean((2, 3))))
    torch.testing.assert_close(taps['logits'], student(images))
    trained = {name for name, p in student.named_parameters() if p.requires_grad}
    assert not any(name.startswith(('classifier', 'student.fc')) for name in trained)
    assert any(name.startswith('projector') for name in trained)
    assert student.added_parameters == sum(p.numel() for p in student.projector.parameters()) + 12 * 10 + 10
    feats = TapReader(student)(images, ['stages', 'logits'])['stages']
    assert [x.shape[1] for x in feats] == [4, 6, 8]
    assert not distiller.param_groups()  # the trained parts are the student's


def test_rebuilds_from_its_config():
    _, student, _ = adapted(factor=3)
    config = json.loads(json.dumps(student.build_config))
    assert set(config) >= {'type', 'student', 'teacher_channels', 'num_classes', 'factor', 'size'}
    other = build_network(config)
    assert isinstance(other, SimKDStudent) and other.build_config == student.build_config
    other.load_state_dict(student.state_dict())
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(other.eval()(images), student.eval()(images))
    assert isinstance(MODELS.build(student.build_config), SimKDStudent)


def test_network_without_named_taps():
    net = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                        nn.Linear(5, 10))
    distiller, student, teacher = adapted(net)
    images = torch.randn(4, 3, 16, 16)
    taps = student.forward_taps(images)
    assert taps['final_map'].shape == (4, 12, 4, 4) and taps['logits'].shape == (4, 10)  # the map was 16 x 16
    loss = distiller(taps, teacher.forward_taps(images), Batch(images), Progress())['simkd']
    loss.backward()
    assert net[0].weight.grad.abs().sum() > 0 and isinstance(net[4], nn.Identity)


def test_steps_lower_the_loss():
    distiller, student, teacher = adapted()
    images = torch.randn(8, 3, 16, 16)
    with torch.no_grad():
        target = TapReader(teacher)(images, ['final_map'])
    optimizer = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    reader, losses = TapReader(student), []
    for _ in range(8):
        loss = distiller(reader(images, ['final_map']), target, Batch(images), Progress())['simkd']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert torch.equal(student.classifier.weight, teacher.fc.weight)


def test_larger_teacher_map_is_pooled():
    distiller, moved, target = SimKD(), torch.randn(2, 6, 4, 4), torch.randn(2, 6, 8, 8)
    loss = distiller({'final_map': moved}, {'final_map': target}, Batch(moved), Progress())['simkd']
    torch.testing.assert_close(loss, (moved - F.avg_pool2d(target, 2)).square().mean())
    half = distiller({'final_map': moved.half() * 50}, {'final_map': target.half()}, Batch(moved), Progress())['simkd']
    assert half.dtype == torch.float32 and half.isfinite()


def test_bad_input():
    with pytest.raises(ValueError, match='lower factor'):
        SimKDProjector(4, 4, factor=8)
    with pytest.raises(ValueError, match=r'set model\.teacher'):
        SimKD().adapt_student(nn.Identity(), None, Shapes({}, {}))
    with pytest.raises(ValueError, match='the student offers None'):
        SimKD().adapt_student(nn.Identity(), nn.Identity(), Shapes({}, {'final_map': torch.Size((2, 3, 4, 4))}))
    with pytest.raises(ValueError, match='adapt_student returned'):
        SimKD().build(Shapes({'final_map': torch.Size((2, 3, 4, 4))}, {'final_map': torch.Size((2, 6, 4, 4))}))
