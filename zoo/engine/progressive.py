"""The rounds of progressive distillation, as far as the optimiser and the released files are concerned."""
from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook

from zoo.registry import HOOKS

from .ema import student_of
from .hooks import bare, preprocess_of


@HOOKS.register_module()
class ProgressiveRoundsHook(Hook):
    """Begins each round with a fresh optimiser, and releases the student of each round.

    Within a round the learning rate falls linearly to 0; the config has no ``param_scheduler``. At the end of a round the
    student is written to ``student_<N>_steps.safetensors``. Everything depends on the iteration alone, so that a resumed run is
    the uninterrupted one.
    """
    priority = 'HIGH'

    def before_run(self, runner) -> None:
        found = [d for d in bare(runner.model).distillers.values() if hasattr(d, 'round_at')]
        if not found:
            raise ValueError('ProgressiveRoundsHook needs a ProgressiveDistillation in model.distillers.')
        if runner.param_schedulers:
            raise ValueError('ProgressiveRoundsHook sets the learning rate itself: remove param_scheduler.')
        self.distiller = found[0]
        self.rates = [group['lr'] for group in runner.optim_wrapper.param_groups]

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        loop, distiller = runner.train_loop, self.distiller
        begins = [*distiller.begins(loop.max_iters), loop.max_iters]
        number = distiller.round_at(loop.iter, loop.max_iters)
        if number and loop.iter == begins[number]:
            runner.optim_wrapper.optimizer.state.clear()
            self._release(runner, number - 1)
        left = 1 - (loop.iter - begins[number]) / max(begins[number + 1] - begins[number], 1)
        for group, rate in zip(runner.optim_wrapper.param_groups, self.rates):
            group['lr'] = rate * left

    def after_train(self, runner) -> None:
        self._release(runner, len(self.distiller.steps) - 1)

    @master_only
    def _release(self, runner, number: int) -> None:
        from zoo.models.released import save_released
        steps = self.distiller.steps[number]
        save_released(student_of(runner), Path(runner.work_dir) / f'student_{steps}_steps.safetensors',
                      preprocess=preprocess_of(bare(runner.model)),
                      facts=dict(config=str(runner.cfg.filename or ''), iteration=runner.train_loop.iter, seed=runner.seed,
                                 steps=steps))
