"""What is special to CAT-KD; its plain values are checked by the golden cases."""
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zoo.distillers import CATKD, Batch, Progress, Shapes, cat_kd_loss
from zoo.taps import TapReader


class Net(nn.Module):
    """Two convolutions, a pooled ReLU map and a classifier called ``head``."""
    classifier_name = 'head'

    def __init__(self, width=6, stride=1, num_classes=5, norm=False):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride, 1)
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.head = nn.Linear(width, num_classes)

    def forward_taps(self, x, names=None):
        final_map = F.relu(self.conv(x))
        return dict(final_map=final_map, logits=self.head(self.norm(final_map.mean((2, 3)))))

    def forward(self, x):
        return self.forward_taps(x)['logits']


def built(distiller, student, teacher):
    example = torch.zeros(2, 3, 8, 8)
    distiller.adapt_teacher(teacher)
    names = dict(student=distiller.needs.student, teacher=distiller.needs.teacher)
    readers = dict(student=TapReader(student), teacher=TapReader(teacher))

    def measured():
        return Shapes(*(readers[side].shapes(names[side], example) for side in ('student', 'teacher')), num_classes=5,
                      student_net=readers['student'], teacher_net=readers['teacher'])
    assert distiller.adapt_student(student, teacher, measured()) is student
    distiller.build(measured())

    def run(images):
        with torch.no_grad():
            taps = readers['teacher'](images, names['teacher'])
        return distiller(readers['student'](images, names['student']), taps, Batch(images), Progress())['cat_kd']
    return run


def slow_cat_kd(student, teacher, logits, resolution, normalize, binarize, num_cams, select):
    """By loops over samples and classes, without ties."""
    total, count = 0.0, 0
    for n in range(len(student)):
        ranked = sorted(range(student.shape[1]), key=lambda k: -logits[n, k])
        if num_cams is None:
            kept = ranked
        else:
            kept = ranked[:num_cams - 1] if select == 'top' else ranked[len(ranked) - 1 - num_cams:]
        for k in kept:
            maps = [student[n, k], teacher[n, k]]
            if binarize:
                maps[1] = (maps[1] > maps[1].abs().mean()).double()
            maps = [F.adaptive_avg_pool2d(m[None], resolution)[0] for m in maps]
            if normalize:
                maps = [m / max(m.norm().item(), 1e-12) for m in maps]
            total, count = total + ((maps[0] - maps[1])**2).sum(), count + resolution**2
    return total / count


@pytest.mark.parametrize('options', [
    dict(binarize=True, normalize=True), dict(num_cams=3, select='bottom'), dict(num_cams=7, select='bottom'),
    dict(num_cams=0, select='bottom', resolution=1), dict(num_cams=2, binarize=True, resolution=3), dict(num_cams=8)])
def test_options_against_loops(options):
    torch.manual_seed(0)
    options = dict(dict(resolution=2, normalize=False, binarize=False, num_cams=None, select='top'), **options)
    student, teacher = torch.randn(3, 8, 6, 6).double(), torch.randn(3, 8, 4, 5).double()
    logits = torch.randn(3, 8).double()
    torch.testing.assert_close(cat_kd_loss(student, teacher, logits, **options),
                               slow_cat_kd(student, teacher, logits, **options))


def test_ties_that_leave_unequal_numbers_keep_all_classes():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 4, 2, 2), torch.randn(2, 4, 2, 2)
    logits = torch.tensor([[4.0, 3.0, 2.0, 1.0], [4.0, 4.0, 2.0, 1.0]])
    everything = cat_kd_loss(student, teacher)
    assert cat_kd_loss(student, teacher, logits, num_cams=2) == everything  # 1 + 0 maps
    assert cat_kd_loss(student, teacher, logits, num_cams=3) != everything  # 2 + 2 maps
    assert cat_kd_loss(student, teacher, torch.ones(2, 4), num_cams=3) == everything  # none, instead of NaN


def test_the_classifier_learns_through_the_maps_and_the_student_stays_plain():
    torch.manual_seed(0)
    student, teacher = Net(4, stride=2), Net(9)
    distiller = CATKD()
    run = built(distiller, student, teacher)
    assert not list(distiller.parameters()) and not distiller.state_dict()
    assert (student.head.bias == 0).all() and not student.head.bias.requires_grad and (teacher.head.bias == 0).all()
    assert student.state_dict().keys() == Net().state_dict().keys()

    images = torch.randn(6, 3, 8, 8)
    first = run(images)
    first.backward()
    assert student.head.weight.grad.abs().sum() > 0 and student.conv.weight.grad.abs().sum() > 0
    assert teacher.head.weight.grad is None and teacher.conv.weight.grad is None
    optimizer = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], 5.0)
    for _ in range(30):
        optimizer.zero_grad()
        run(images).backward()
        optimizer.step()
    assert run(images) < 0.7 * first
    assert run(images[:1]).isfinite()


def test_pooled_maps_are_the_logits():
    torch.manual_seed(0)
    student, teacher = Net(4, stride=2), Net(9)
    run = built(CATKD(resolution=1), student, teacher)
    images = torch.randn(6, 3, 8, 8)
    torch.testing.assert_close(run(images), F.mse_loss(student(images), teacher(images)))


def test_a_map_of_zeros_gets_no_huge_gradient():
    student = torch.zeros(2, 3, 4, 4).index_fill(0, torch.tensor([1]), 0.5).requires_grad_()
    cat_kd_loss(student, torch.randn(2, 3, 4, 4), normalize=True).backward()
    assert (student.grad[0] == 0).all() and student.grad[1].abs().max() < 10


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    cams = (torch.full((2, 3, 4, 4), v, dtype=dtype) for v in (50, -50))
    for normalize in (True, False):
        assert cat_kd_loss(*(c.clone() for c in cams), normalize=normalize).isfinite()
        cams = (torch.full((2, 3, 4, 4), v, dtype=dtype) for v in (5e4, -5e4))


def test_bad_input():
    cams, logits = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3)
    with pytest.raises(ValueError, match='same N and K'):
        cat_kd_loss(cams, torch.zeros(2, 4, 4, 4))
    with pytest.raises(ValueError, match="'top' or 'bottom'"):
        cat_kd_loss(cams, cams, select='best')
    with pytest.raises(ValueError, match='needs teacher_logits'):
        cat_kd_loss(cams, cams, num_cams=2)
    for num_cams, select in ((1, 'top'), (4, 'top'), (3, 'bottom')):
        with pytest.raises(ValueError, match='num_cams must lie in'):
            cat_kd_loss(cams, cams, logits, num_cams=num_cams, select=select)
    with pytest.raises(ValueError, match='num_cams must lie in'):
        built(CATKD(num_cams=9), Net(), Net())
    with pytest.raises(ValueError, match='the student has 5, the teacher 7'):
        built(CATKD(), Net(), Net(num_classes=7))
    with pytest.raises(ValueError, match='set teacher_map'):
        built(CATKD(teacher_map='logits'), Net(), Net())
    with pytest.raises(ValueError, match='linear classifier'):
        net = Net()
        net.head = nn.Identity()
        CATKD().adapt_teacher(net)
    with pytest.raises(ValueError, match='stored teacher outputs'):
        CATKD().build(Shapes({}, {}))


def test_a_teacher_that_normalises_after_pooling_is_refused():
    torch.manual_seed(0)
    run = built(CATKD(), Net(), Net(norm=True))
    with pytest.raises(ValueError, match="not the teacher's logits"):
        run(torch.randn(2, 3, 8, 8))
