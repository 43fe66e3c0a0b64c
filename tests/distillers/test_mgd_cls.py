import pytest
import torch

from zoo.distillers import Batch, MGDCls, MGDClsLoss, Progress, Shapes


def test_mask_leaves_out_whole_channels():
    torch.manual_seed(0)
    module = MGDClsLoss(6, 6, mask_ratio=0.5)
    student, teacher = torch.randn(2, 6, 4, 4, requires_grad=True), torch.randn(2, 6, 4, 4)
    noise = torch.rand(2, 6, 1, 1)
    module(student, teacher, noise).backward()
    used = student.grad.abs().sum((2, 3)) > 0
    assert torch.equal(used, noise[:, :, 0, 0] >= 0.5) and 0 < used.sum() < 12


def test_ratios_zero_and_one():
    torch.manual_seed(0)
    student, other, teacher = torch.randn(3, 2, 6, 4, 4)
    noise = torch.zeros(2, 6, 1, 1)
    kept, masked = MGDClsLoss(6, 6, mask_ratio=0.0), MGDClsLoss(6, 6, mask_ratio=1.0)
    expected = (kept.generation(student) - teacher).square().sum() / 2
    torch.testing.assert_close(kept(student, teacher, noise), expected)
    assert masked(student, teacher, noise + 0.99) == masked(other, teacher, noise)
    assert kept(student, kept.generation(student), noise) == 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_finite_in_half_precision(dtype):
    torch.manual_seed(0)
    module = MGDClsLoss(4, 6).to(dtype)
    loss = module(torch.full((2, 4, 8, 8), 50.0, dtype=dtype), torch.full((2, 6, 8, 8), -50.0, dtype=dtype),
                  torch.rand(2, 6, 1, 1))
    assert loss.isfinite() and loss.dtype == torch.float32


def test_steps_lower_the_loss_for_unlike_maps():
    torch.manual_seed(0)
    distiller = MGDCls(mask_ratio=0.15)
    student, teacher = torch.randn(4, 3, 8, 4, requires_grad=True), torch.randn(4, 5, 4, 8)
    distiller.build(Shapes({'final_map': student.shape}, {'final_map': teacher.shape}))
    optimizer = torch.optim.SGD([student, *distiller.param_groups()[0]['params']], lr=1e-2)
    batch, losses = Batch(torch.zeros(4, 3, 8, 8)), []
    for _ in range(12):
        loss = distiller({'final_map': student}, {'final_map': teacher}, batch, Progress())['mgd_cls']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert distiller.size == (4, 4) and losses[-1] < 0.9 * losses[0]
    alone = distiller({'final_map': student[:1]}, {'final_map': teacher[:1]}, batch, Progress())
    assert alone['mgd_cls'].isfinite()


def test_noise_comes_from_the_global_generator():
    distiller = MGDCls(mask_ratio=0.5)
    student, teacher = torch.randn(4, 3, 4, 4), torch.randn(4, 3, 4, 4)
    distiller.build(Shapes({'final_map': student.shape}, {'final_map': teacher.shape}))

    def term(seed):
        torch.manual_seed(seed)
        return distiller({'final_map': student}, {'final_map': teacher}, Batch(student), Progress())['mgd_cls'].item()

    assert term(1) == term(1) and term(1) != term(2)


def test_bad_input():
    with pytest.raises(ValueError, match='between 0 and 1'):
        MGDClsLoss(3, 3, mask_ratio=15)
    with pytest.raises(ValueError, match="teacher's tap"):
        MGDCls(teacher_feat='pooled').build(Shapes({'final_map': torch.Size((2, 3, 4, 4))},
                                                   {'pooled': torch.Size((2, 3))}))
