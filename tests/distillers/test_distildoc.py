import pytest
import torch
import torch.nn.functional as F

from zoo.distillers import DistilDoc, Progress, Shapes, simkd_fpn_loss


def test_levels_count_alike():
    torch.manual_seed(0)
    student, teacher = ([torch.randn(2, 3, s, s) for s in (8, 2)] for _ in range(2))
    torch.testing.assert_close(simkd_fpn_loss(student, teacher), sum(F.mse_loss(s, t) for s, t in zip(student, teacher)))
    half = [x.half().mul(200) for x in student]
    assert simkd_fpn_loss(half, [-x for x in half]).isfinite()
    with pytest.raises(ValueError, match='one length'):
        simkd_fpn_loss(student, teacher[:1])
    with pytest.raises(ValueError, match='one shape'):
        simkd_fpn_loss(student, teacher[::-1])
    with pytest.raises(ValueError, match='no projector'):
        DistilDoc().build(Shapes({'neck': [torch.Size((1, 4, 2, 2))]}, {'neck': [torch.Size((1, 3, 2, 2))]}))


@pytest.mark.parametrize('distill_only', [True, False])
def test_when_it_acts(distill_only):
    pytest.importorskip('mmdet')
    from tests.distillers.tiny_detectors import batch, pair
    model = pair(dict(type='DistilDoc', distill_only=distill_only, begin=2, end=4))
    for iteration, acts in ((0, False), (1, False), (2, True), (3, True), (4, False)):
        model.progress = Progress(iteration=iteration, iterations=6)
        terms = model(batch(), mode='loss')
        assert (terms['distildoc.simkd_fpn'] > 0) == acts
        assert ('loss_cls' in terms) == (not (acts and distill_only))
