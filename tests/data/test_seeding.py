"""Whose seed the draws of an image follow."""
import torch

from zoo.data import NoiseDataset
from zoo.engine import Runner


def test_without_a_seed_the_draws_follow_the_run():
    free, fixed = NoiseDataset(4, (1, 2, 2)), NoiseDataset(4, (1, 2, 2), seed=3)
    before = [torch.as_tensor(data[0]['noise']) for data in (free, fixed)]
    for data in (free, fixed):
        data.run_seed = 5
    after = [torch.as_tensor(data[0]['noise']) for data in (free, fixed)]
    assert not torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])
    assert torch.equal(after[0], torch.as_tensor(NoiseDataset(4, (1, 2, 2), seed=5)[0]['noise']))


def test_the_loop_says_the_seed(tiny):
    runner = Runner.from_cfg(tiny('run', epochs=1, subset=32))
    runner.train()
    dataset = runner.train_dataloader.dataset
    assert runner.seed == 3
    assert dataset.run_seed == dataset.seed == 3
