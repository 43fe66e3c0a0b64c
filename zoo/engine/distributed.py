"""Several processes."""
import os

import torch
from torch.nn.parallel import DistributedDataParallel as TorchDDP

from zoo.registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class DistributedDataParallel(TorchDDP):
    """torch's wrapper around a model that owns its training step."""

    def train_step(self, data, optim_wrapper):
        return self.module.train_step(data, optim_wrapper, call=self)

    def val_step(self, data):
        return self.module.val_step(data)

    def test_step(self, data):
        return self.module.test_step(data)


def wrap(model: torch.nn.Module, **options) -> DistributedDataParallel:
    """``model`` on this process's device, gradients averaged over all processes."""
    ids = [int(os.environ['LOCAL_RANK'])] if next(model.parameters()).is_cuda else None
    return DistributedDataParallel(model, device_ids=ids, **{'broadcast_buffers': False, **options})


def start_processes(launcher: str) -> None:
    """Join the process group: nccl with CUDA; gloo without, which mmengine's own start-up does not allow for."""
    if launcher == 'none' or torch.distributed.is_initialized() or torch.cuda.is_available():
        return
    if launcher == 'pytorch':
        torch.distributed.init_process_group('gloo')
