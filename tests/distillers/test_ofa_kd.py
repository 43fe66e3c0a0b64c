"""OFA-KD: the loss's options, the projectors' limits, and stages found in networks of every kind."""
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models import VisionTransformer

from zoo.distillers import OFAKD, Batch, OFAConvProjector, OFATokenProjector, Progress, ofa_loss
from zoo.distillers.vit.ofa_kd import PatchMerger, _stage_ends
from zoo.tasks import Distillation

TEACHER = {'type': 'CifarResNet', 'depth': 8, 'widths': (4, 4, 6, 8), 'untrained': True}


# ---- the loss

@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(2, 6), st.floats(1, 2), st.floats(0.5, 4), st.integers(0, 99))
def test_loss_is_its_definition(count, classes, eps, temperature, seed):
    """Summed term by term, with labels as numbers, and shifted logits."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, count, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (count,), generator=generator)
    total = 0.0
    for row in range(count):
        q = [math.exp(z / temperature) for z in student[row].tolist()]
        p = [math.exp(z / temperature) for z in teacher[row].tolist()]
        for k in range(classes):
            share = p[k] / sum(p)
            weight = (1 + share)**eps - 1 if k == labels[row] else share**eps
            total -= weight * math.log(q[k] / sum(q)) / count
    options = {'eps': eps, 'temperature': temperature}
    assert ofa_loss(student, teacher, labels, **options).item() == pytest.approx(total, rel=1e-9)
    assert ofa_loss(student + 3, teacher - 2, labels, **options).item() == pytest.approx(total, rel=1e-9)


def test_minimum_at_the_teacher_where_eps_is_1():
    teacher = torch.randn(5, 7, dtype=torch.float64)
    student = teacher.clone().requires_grad_()
    ofa_loss(student, teacher, torch.arange(5)).backward()
    torch.testing.assert_close(student.grad, torch.zeros_like(student), atol=1e-12, rtol=0)


def test_soft_labels_count_by_their_largest_entry_and_the_teacher_gets_no_gradient():
    student, teacher = torch.randn(2, 3, 4)
    teacher.requires_grad_()
    soft = torch.tensor([[.1, .6, .3, 0], [.4, .2, .2, .2], [0, 0, .45, .55]])
    loss = ofa_loss(student.requires_grad_(), teacher, soft, eps=1.4)
    torch.testing.assert_close(loss, ofa_loss(student, teacher, torch.tensor([1, 0, 3]), eps=1.4))
    loss.backward()
    assert teacher.grad is None


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_finite_in_half_precision(dtype):
    student = torch.tensor([[50., -50, 0], [-50, 50, 50]], dtype=dtype, requires_grad=True)
    loss = ofa_loss(student, -student.detach(), torch.tensor([0, 1]), eps=1.5)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


# ---- the projectors

def test_conv_projector_halves_up_to_the_last_stage():
    assert [type(m).__name__ for m in OFAConvProjector(1, 4, 10, 3)][:3] == ['SepConv'] * 3
    projector = OFAConvProjector(1, 4, 10, 3)
    assert [(b.op[0].in_channels, b.op[5].out_channels) for b in list(projector)[:3]] == [(4, 8), (8, 16), (16, 10)]
    assert nn.Sequential(*list(projector)[:3])(torch.randn(2, 4, 16, 16)).shape == (2, 10, 2, 2)
    assert projector(torch.randn(2, 4, 16, 16)).shape == (2, 3)
    assert list(OFAConvProjector(4, 6, 8, 5).state_dict()) == ['0.weight', '0.bias', '3.weight', '3.bias']


@pytest.mark.parametrize(('stage', 'tokens', 'dim', 'prefix', 'mergers', 'blocks'), [
    (1, 197, 8, 1, 1, 3), (2, 196, 4, 0, 1, 2), (3, 50, 8, 1, 0, 1), (4, 785, 8, 1, 2, 1), (1, 18, 8, 2, 0, 3)])
def test_token_projector_merges_down_to_seven_by_seven(stage, tokens, dim, prefix, mergers, blocks):
    projector = OFATokenProjector(stage, tokens, dim, 8, 5, prefix)
    assert len(projector[0].fn) == mergers
    assert len(projector[1]) == blocks
    assert projector(torch.randn(2, tokens, dim)).shape == (2, 5)
    activations = [type(m.act).__name__ for m in projector[0].fn]
    assert activations == ['GELU', *['GELU'] * (mergers - 2), 'Identity'][:mergers]


def test_merger_reads_columns_of_even_and_odd_rows():
    """A reduction that copies one channel a time shows what lies where."""
    merger = PatchMerger(1, 4, activation=False)
    merger.norm = nn.Identity()
    merger.reduction.weight.data = torch.eye(4)
    grid = torch.arange(16.).view(1, 16, 1)
    assert merger(grid)[0].tolist() == [[0, 4, 1, 5], [2, 6, 3, 7], [8, 12, 9, 13], [10, 14, 11, 15]]
    assert merger(torch.ones(1, 9, 1))[0].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]]


def test_small_grids_whose_width_differs():
    projector = OFATokenProjector(1, 16, 4, 8, 5)
    assert projector[0].fn[0].weight.shape == (8, 4)
    assert projector(torch.randn(2, 16, 4)).shape == (2, 5)


@pytest.mark.parametrize(('make', 'message'), [
    (lambda: OFAConvProjector(5, 4, 8, 3), 'stages 1 to 4'),
    (lambda: OFATokenProjector(0, 16, 8, 8, 3), 'stages 1 to 4'),
    (lambda: OFATokenProjector(1, 16, 6, 6, 3), '4 attention heads'),
    (lambda: OFATokenProjector(1, 197, 8, 16, 3, 1), 'must be equal'),
    (lambda: OFATokenProjector(1, 200, 8, 8, 3), 'square'),
    (lambda: OFAKD(projector='vit'), "'auto', 'conv' or 'token'"),
    (lambda: OFAKD(temperature=0), 'temperature'),
    (lambda: OFAKD(stages=['a'] * 5), '1 to 4 stages'),
])
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---- stages of real networks

@pytest.mark.parametrize(('depth', 'ends'), [
    (12, [1, 3, 9, 11]), (24, [3, 7, 19, 23]), (8, [0, 2, 6, 7]), (6, [0, 1, 4, 5]), (5, [0, 1, 3, 4]),
    (4, [0, 1, 2, 3]), (3, [0, 1, 2]), (1, [0])])
def test_blocks_at_which_stages_end(depth, ends):
    assert _stage_ends(depth) == ends


def model(student: dict, size: int = 32, teacher: dict = TEACHER, **options) -> Distillation:
    return Distillation(student=student, teacher=dict(teacher), distillers=[{'type': 'OFAKD', **options}],
                        task={'type': 'Classification', 'num_classes': 5, 'input_shape': (3, size, size)})


def timm(name: str, **options) -> dict:
    return {'type': 'TimmModel', 'model_name': name, **options}


VIT = {'img_size': 32, 'patch_size': 8, 'embed_dim': 16, 'num_heads': 2}
MAPS = ('stages.-4', 'stages.-3', 'stages.-2', 'stages.-1')
NETWORKS = {
    'vit': (timm('vit_tiny_patch16_224', depth=6, **VIT), 'token', [f'blocks.{i}' for i in (0, 1, 4, 5)], 1),
    'deit with two tokens': (timm('deit_tiny_distilled_patch16_224', depth=4, **VIT), 'token',
                             [f'blocks.{i}' for i in range(4)], 2),
    'mixer': (timm('mixer_s16_224', img_size=32), 'token', [f'blocks.{i}' for i in (0, 2, 6, 7)], 0),
    'resmlp': (timm('resmlp_12_224', img_size=32), 'token', [f'blocks.{i}' for i in (1, 3, 9, 11)], 0),
    'swin': (timm('swin_tiny_patch4_window7_224', img_size=32, embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2),
                  window_size=4), 'token', MAPS, 0),
    'convnext': (timm('test_convnext'), 'conv', MAPS, 0),
    'resnet': (timm('test_resnet'), 'conv', MAPS, 0),
    'mobilenetv2': (timm('mobilenetv2_035'), 'conv', (*MAPS[:3], 'final_map'), 0),
    'cifar resnet': ({'type': 'CifarResNet', 'depth': 8, 'widths': (4, 4, 6, 8)}, 'conv', MAPS[1:], 0),
}


@pytest.mark.parametrize('kind', NETWORKS)
def test_stages_are_found(kind):
    """Every projector gets a gradient, and after the first step nothing is read that only shapes needed."""
    student, projector, taps, prefix = NETWORKS[kind]
    net = model(student)
    distiller = net.distillers['ofa_kd']
    assert distiller.kind == projector
    assert distiller.stage_taps == tuple(taps)
    assert distiller.needs.student == ('logits', *taps)
    if projector == 'token':
        assert {p[0].num_prefix_tokens for p in distiller.projectors} == {prefix}
    terms = net.train()({'images': torch.randn(2, 3, 32, 32), 'labels': torch.tensor([1, 4])}, mode='loss')
    assert set(terms) == {'ce', 'ofa_kd.head', 'ofa_kd.stages'}
    sum(terms.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in distiller.parameters())
    assert len(list(distiller.parameters())) == sum(len(list(p.parameters())) for p in distiller.projectors)


def test_a_vit_without_taps_of_its_own():
    """torchvision's: the blocks are not called as timm's, and the class token is found from the shapes."""
    student = VisionTransformer(image_size=32, patch_size=8, num_layers=6, num_heads=2, hidden_dim=16, mlp_dim=16,
                                num_classes=5)
    distiller = model(student).distillers['ofa_kd']
    assert distiller.stage_taps == tuple(f'encoder.layers.encoder_layer_{i}' for i in (0, 1, 4, 5))
    assert {p[0].num_prefix_tokens for p in distiller.projectors} == {1}


def test_width_of_the_conv_projectors_is_the_larger_of_both():
    small = NETWORKS['cifar resnet'][0]
    wide = model(small, teacher={**TEACHER, 'widths': (4, 4, 6, 20)}).distillers['ofa_kd']
    assert [p[-1].in_features for p in wide.projectors] == [20, 20, 20]
    narrow = model({**small, 'widths': (4, 4, 6, 24)}).distillers['ofa_kd']
    assert [p[-1].in_features for p in narrow.projectors] == [24, 24, 24]


def test_named_stages():
    vit, resnet = NETWORKS['vit'][0], NETWORKS['resnet'][0]
    tokens = model(vit, stages=['blocks.2', 'blocks.5']).distillers['ofa_kd']
    assert (tokens.kind, tokens.stage_taps, len(tokens.projectors[0][1])) == ('token', ('blocks.2', 'blocks.5'), 1)
    maps = model(vit, stages='stages', projector='conv').distillers['ofa_kd']
    assert (maps.kind, maps.stage_taps) == ('conv', MAPS)
    before_relu = model(NETWORKS['cifar resnet'][0], stages='preact_stages').distillers['ofa_kd']
    assert before_relu.stage_taps == ('preact_stages.-3', 'preact_stages.-2', 'preact_stages.-1')
    assert model(resnet, stages=['layer3', 'layer4']).distillers['ofa_kd'].kind == 'conv'
    with pytest.raises(ValueError, match='conv projector on .blocks.2'):
        model(vit, stages=['blocks.2'], projector='conv')
    with pytest.raises(ValueError, match=r'layers.1. gives .*channels last'):
        model(NETWORKS['swin'][0], stages=['layers.0', 'layers.1'])
    assert model(NETWORKS['swin'][0], stages=['stages.1', 'stages.3'], projector='token').distillers['ofa_kd'].kind == 'token'


def test_eps_for_each_term():
    student = NETWORKS['cifar resnet'][0]
    torch.manual_seed(0)
    net = model(student, eps=[1.0, 1.2, 1.4, 1.6], kd_weight=2.0, ofa_weight=0.5)
    distiller, batch = net.distillers['ofa_kd'].eval(), Batch(torch.randn(3, 3, 32, 32), torch.tensor([0, 1, 2]))
    student_taps = net.task.run(net.student_reader, batch, distiller.needs.student)
    teacher_taps = net.task.run(net.teacher_reader, batch, distiller.needs.teacher)
    terms = distiller(student_taps, teacher_taps, batch, Progress())
    torch.testing.assert_close(terms['head'], 2 * ofa_loss(student_taps['logits'], teacher_taps['logits'], batch.labels,
                                                           eps=1.6))
    exits = [ofa_loss(p(student_taps[name]), teacher_taps['logits'], batch.labels, eps=eps) for p, name, eps in
             zip(distiller.projectors, ('stages.-3', 'stages.-2', 'stages.-1'), (1.0, 1.2, 1.4))]
    torch.testing.assert_close(terms['stages'], 0.5 * sum(exits))
    with pytest.raises(ValueError, match='one eps, or 4 for 3 stages'):
        model(student, eps=[1.0] * 5)


def test_one_image_whose_maps_shrink_to_one_pixel():
    net = model(NETWORKS['cifar resnet'][0], size=8, stages=[*MAPS[1:], 'stages.-1']).train()
    halvings = nn.Sequential(*list(net.distillers['ofa_kd'].projectors[0])[:3])
    assert halvings(torch.randn(2, 4, 8, 8)).shape[2:] == (1, 1)
    terms = net({'images': torch.randn(1, 3, 8, 8), 'labels': torch.tensor([1])}, mode='loss')
    assert all(torch.isfinite(value) for value in terms.values())
    assert all(module.training for module in net.distillers['ofa_kd'].modules())


def test_a_network_without_stages_is_refused():
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.fc = nn.Linear(3 * 32 * 32, 8), nn.Linear(8, 5)

        def forward(self, x):
            return self.fc(self.hidden(x.flatten(1)))
    with pytest.raises(ValueError, match='no stages in Flat'):
        model(Flat())
