"""Teachers with other sizes and statistics."""
import pytest
import torch

from tests.conftest import TINY
from zoo.tasks import Distillation
from zoo.tasks.inputs import InputAdapter, input_adapter


def test_renormalisation_is_exact():
    pixels = torch.rand(2, 3, 4, 4)
    mean, std, other_mean, other_std = (torch.rand(3) * 0.5 + 0.2 for _ in range(4))

    def column(v):
        return v.view(1, 3, 1, 1)
    own = (pixels - column(mean)) / column(std)
    adapter = InputAdapter(mean, std, other_mean, other_std)
    torch.testing.assert_close(adapter(own), (pixels - column(other_mean)) / column(other_std))


def test_size_and_silence():
    adapter = InputAdapter((0.5,) * 3, (0.2,) * 3, size=(8, 8))
    assert adapter(torch.rand(2, 3, 4, 4)).shape == (2, 3, 8, 8)
    assert not adapter.changes_values and 'resized to 8x8' in adapter.describe('The teacher')
    net = torch.nn.Identity()
    assert input_adapter(net, None, net, (3, 4, 4)) is None
    assert input_adapter(net, dict(size=4), net, (3, 4, 4)) is None
    with pytest.raises(ValueError, match='states no mean'):
        input_adapter(net, 'own', net, (3, 4, 4))


def test_timm_teacher_gets_its_own_input():
    """The teacher's logits are those of resized, renormalised images; the student's are not touched."""
    model = Distillation(
        student=dict(TINY),
        teacher=dict(type='TimmModel', model_name='test_resnet', num_classes=10, untrained=True, input='own'),
        distillers=[dict(type='KD')], task=dict(type='Classification', num_classes=10, input_shape=(3, 8, 8)),
        data_preprocessor=dict(type='BatchPreprocessor', mean=(0.1,) * 3, std=(0.4,) * 3)).eval()
    height = model.teacher.input_size[-1]
    pixels = torch.rand(4, 3, 8, 8)
    data = model.data_preprocessor(dict(images=pixels, labels=torch.zeros(4, dtype=torch.long)))
    with torch.no_grad():
        got = model(data, mode='predict')[0]
        large = torch.nn.functional.interpolate(pixels, (height, height), mode='bicubic', antialias=True)
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (model.teacher.mean, model.teacher.std))
        want = model.teacher((large - mean) / std)
    torch.testing.assert_close(got['teacher_logits'], want, rtol=1e-3, atol=1e-4)
    assert model.teacher_reader.shapes(['logits'], torch.zeros(2, 3, 8, 8))['logits'] == (2, 10)
