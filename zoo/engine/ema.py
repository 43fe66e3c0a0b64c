"""An exponential moving average of the student."""
import torch
from mmengine.hooks import Hook
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from zoo.registry import HOOKS


def student_of(runner) -> torch.nn.Module:
    """The student of a runner's model (the model itself where it has none)."""
    model = getattr(runner.model, 'module', runner.model)
    return getattr(model, 'student', model)


@HOOKS.register_module()
class EMAHook(Hook):
    """Averages the student's parameters and buffers; the average is validated, tested and released.

    Only the student is averaged: no teacher, no projector. The average is part of the checkpoint and resumes.

    Args:
        decay: of ``average = decay * average + (1 - decay) * student`` after each optimiser step.
    """
    priority = 'NORMAL'

    def __init__(self, decay: float = 0.9998):
        self.decay = decay
        self.average: AveragedModel | None = None

    def before_run(self, runner) -> None:
        self.average = AveragedModel(student_of(runner), multi_avg_fn=get_ema_multi_avg_fn(self.decay), use_buffers=True)
        self.average.requires_grad_(False)
        runner.student_average = self.average.module

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.optim_wrapper.should_update():
            self.average.update_parameters(student_of(runner))

    def swap(self, runner) -> None:
        """Exchange the values of student and average."""
        pairs = zip((*student_of(runner).parameters(), *student_of(runner).buffers()),
                    (*self.average.module.parameters(), *self.average.module.buffers()))
        with torch.no_grad():
            for own, averaged in pairs:
                own.data, averaged.data = averaged.data, own.data

    def before_val_epoch(self, runner) -> None:
        self.swap(runner)

    def after_val_epoch(self, runner, metrics=None) -> None:
        self.swap(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint['ema'] = dict(state_dict=self.average.state_dict())

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if 'ema' in checkpoint and self.average is not None:
            self.average.load_state_dict(checkpoint['ema']['state_dict'])
