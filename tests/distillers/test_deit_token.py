"""DeiT's token: both classifiers of timm's distilled models are read, in every mode of theirs."""
import pytest
import torch
import torch.nn.functional as F

from zoo.distillers import DeiTToken, deit_token_loss
from zoo.tasks import Distillation

TEACHER = {'type': 'CifarResNet', 'depth': 8, 'widths': (4, 4, 6, 8), 'untrained': True}
SMALL = {'img_size': 16, 'patch_size': 8, 'depth': 1, 'embed_dim': 12, 'num_heads': 2}
DEIT = {'type': 'TimmModel', 'model_name': 'deit_tiny_distilled_patch16_224', **SMALL}


def model(student=DEIT, loss_weight=0.0, **options) -> Distillation:
    torch.manual_seed(0)
    return Distillation(student=dict(student), teacher=dict(TEACHER), distillers=[{'type': 'DeiTToken', **options}],
                        task={'type': 'Classification', 'num_classes': 5, 'input_shape': (3, 16, 16),
                              'loss_weight': loss_weight})


DATA = {'images': torch.randn(4, 3, 16, 16), 'labels': torch.tensor([0, 1, 2, 4])}


@pytest.mark.parametrize('both', [False, True])
@pytest.mark.parametrize('options', [{}, {'mode': 'soft', 'alpha': 0.1, 'temperature': 3.0}])
def test_reads_both_classifiers(both, options):
    """With ``set_distilled_training(True)`` timm returns both logits in training, without it their mean."""
    net = model(**options).train()
    net.student.set_distilled_training(True)
    label, token = net.student(DATA['images'])
    net.student.set_distilled_training(both)
    terms = net(DATA, mode='loss')
    expected = deit_token_loss(label, token, net.teacher(DATA['images']), DATA['labels'], **options)
    assert set(terms) == {'deit_token.label', 'deit_token.teacher'}
    torch.testing.assert_close(sum(terms.values()), expected)


def test_each_classifier_is_taught_by_its_own():
    net = model().train()
    terms = net(DATA, mode='loss')
    label, token = net.student.head.weight, net.student.head_dist.weight
    assert torch.autograd.grad(terms['deit_token.label'], [label, token], allow_unused=True, retain_graph=True)[1] is None
    assert torch.autograd.grad(terms['deit_token.teacher'], [label, token], allow_unused=True)[0] is None


def test_evaluation_takes_the_mean_of_both():
    net = model().eval()
    taps = net.student_reader(DATA['images'], ['head', 'head_dist'])
    logits = net(DATA, mode='predict')[0]['logits']
    torch.testing.assert_close(logits, (taps['head'] + taps['head_dist']) / 2)


def test_levit_has_two_classifiers_too():
    student = {'type': 'TimmModel', 'model_name': 'levit_128s'}
    net = Distillation(student=student, teacher=dict(TEACHER), distillers=[{'type': 'DeiTToken'}],
                       task={'type': 'Classification', 'num_classes': 5, 'input_shape': (3, 224, 224), 'loss_weight': 0.0})
    terms = net.train()({'images': torch.randn(2, 3, 224, 224), 'labels': torch.tensor([0, 1])}, mode='loss')
    assert all(torch.isfinite(term) for term in terms.values())


def test_soft_form_is_divided_by_all_entries():
    student, token, teacher = torch.randn(3, 6, 5, dtype=torch.float64)
    labels = torch.arange(6) % 5
    p, q = (teacher / 2).softmax(1), (token / 2).softmax(1)
    expected = 4 * (p * (p.log() - q.log())).sum() / 30
    loss = deit_token_loss(student, token, teacher, labels, mode='soft', alpha=1.0, temperature=2.0)
    torch.testing.assert_close(loss, expected)
    per_image, per_entry = model(mode='soft', batch_mean=True)(DATA), model(mode='soft')(DATA)
    torch.testing.assert_close(per_image['deit_token.teacher'], 5 * per_entry['deit_token.teacher'])
    torch.testing.assert_close(per_image['deit_token.label'], per_entry['deit_token.label'])


def test_smoothing_leaves_soft_labels():
    student, token, teacher = torch.randn(3, 4, 5)
    labels = torch.randn(4, 5).softmax(1)
    plain, smooth = (deit_token_loss(student, token, teacher, labels, label_smoothing=s) for s in (0.0, 0.3))
    assert plain == smooth
    hard = labels.argmax(1)
    assert deit_token_loss(student, token, teacher, hard) != deit_token_loss(student, token, teacher, hard,
                                                                           label_smoothing=0.3)


def test_mixed_labels_and_the_teachers_one_class():
    labels = torch.tensor([[.7, .3, 0], [0, .5, .5]])
    student, token = torch.randn(2, 2, 3)
    teacher = torch.tensor([[0., 2, 1], [5, 0, 0]])
    expected = 0.5 * F.cross_entropy(student, labels) + 0.5 * F.cross_entropy(token, torch.tensor([1, 0]))
    torch.testing.assert_close(deit_token_loss(student, token, teacher, labels), expected)


@pytest.mark.parametrize('mode', ['hard', 'soft'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_finite_in_half_precision(dtype, mode):
    logits = torch.tensor([[50., -50, 0], [-50, 50, 50]], dtype=dtype)
    student = logits.clone().requires_grad_()
    loss = deit_token_loss(student, -student, logits, torch.tensor([1, 0]), mode=mode)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(student.grad).all()


def test_bad_input():
    plain = {'type': 'TimmModel', 'model_name': 'vit_tiny_patch16_224', **SMALL}
    with pytest.raises(ValueError, match="no tap 'head_dist'.*deit_tiny_distilled"):
        model(plain)
    with pytest.raises(ValueError, match=r'logits \(N, 5\) at .norm.'):
        model(dist_head='norm')
    with pytest.raises(ValueError, match="'hard' or 'soft'"):
        DeiTToken(mode='both')
    with pytest.raises(ValueError, match='alpha in 0..1'):
        DeiTToken(alpha=1.5)
    with pytest.raises(ValueError, match="'hard' or 'soft'"):
        deit_token_loss(*torch.randn(3, 2, 3), torch.tensor([0, 1]), mode='both')
    with pytest.raises(ValueError, match='needs labels'):
        model()({'images': DATA['images']})
