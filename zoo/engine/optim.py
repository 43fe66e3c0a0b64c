"""The optimiser's side of a step: mixed precision on any device, accumulation, clipping, gradient rules."""
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.optim import OptimWrapper as BaseOptimWrapper
from torch import Tensor, nn

from zoo.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS

DTYPES = dict(fp16=torch.float16, bf16=torch.bfloat16)


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(BaseOptimWrapper):
    """An optimiser with mixed precision, gradient accumulation and clipping.

    Args:
        optimizer: as torch's.
        amp: ``'off'``; ``'bf16'``, on CUDA and CPU; ``'fp16'`` with a dynamic loss scale, on CUDA.
        accumulative_counts: batches per step; the loss is divided by it.
        clip_grad: ``dict(max_norm=...)`` or ``dict(type='value', clip_value=...)``, applied to unscaled gradients.
        device: where the run takes place; found by itself.

    Raises:
        ValueError: for an unknown ``amp``, or fp16 without CUDA.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, amp: str = 'off', accumulative_counts: int = 1,
                 clip_grad: dict | None = None, device: str | None = None):
        super().__init__(optimizer, accumulative_counts, clip_grad)
        self.device = device or get_device()
        if amp not in ('off', *DTYPES):
            raise ValueError(f"amp is 'off', 'fp16' or 'bf16', not {amp!r}.")
        if amp == 'fp16' and self.device != 'cuda':
            raise ValueError(f'--amp fp16 needs a CUDA GPU, and this run is on {self.device}: use --amp bf16, which works on '
                             'the CPU too, or --amp off.')
        self.amp = amp
        self.loss_scaler = torch.amp.GradScaler(self.device, enabled=amp == 'fp16')
        self.grad_norm: Tensor | None = None  #: before clipping, of the last step; stays on the device
        self._apart: list[Tensor] | None = None  # [task gradient, distillation gradient], flat, unscaled, so far

    @contextmanager
    def optim_context(self, model: nn.Module):
        """No synchronisation while gradients accumulate; autocast where ``amp`` is on."""
        with super().optim_context(model), torch.autocast(
                self.device, dtype=DTYPES.get(self.amp), enabled=self.amp != 'off'):
            yield

    def backward(self, loss: Tensor, **kwargs) -> None:
        self.loss_scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs) -> None:
        if self.clip_grad_kwargs:
            self.loss_scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update()

    def _clip_grad(self) -> None:
        params = [p for p in self.parameters if p.grad is not None]
        if params:
            self.grad_norm = self.clip_func(params, **self.clip_grad_kwargs)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All trainable parameters in the optimiser's order."""
        return [p for group in self.optimizer.param_groups for p in group['params'] if p.requires_grad]

    def update_params_by_rule(self, task_loss: Tensor, distill_loss: Tensor, rule) -> None:
        """Step along ``rule(task_gradient, distillation_gradient)``.

        Both losses are differentiated apart over all parameters, summed over accumulated batches and averaged over
        processes, and only then combined, so that the rule sees the gradients of the whole batch.

        Args:
            task_loss, distill_loss: scalars; the number 0 where there is none.
            rule: flat float32 vectors (P,) to a flat vector.
        """
        params = self.parameters
        if self._apart is None:
            size = sum(p.numel() for p in params)
            self._apart = [params[0].new_zeros(size) for _ in range(2)]
        losses = [loss for loss in (task_loss, distill_loss) if isinstance(loss, Tensor) and loss.requires_grad]
        scale = self.loss_scaler.get_scale() if self.loss_scaler.is_enabled() else 1.0
        for total, loss in zip(self._apart, (task_loss, distill_loss)):
            if not any(loss is other for other in losses):
                continue
            grads = torch.autograd.grad(self.loss_scaler.scale(self.scale_loss(loss)), params, allow_unused=True,
                                        retain_graph=loss is not losses[-1])
            flat = torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(params, grads)])
            total.add_(flat, alpha=1 / scale)
        self._inner_count += 1
        if not self.should_update():
            return
        task, distill = self._apart
        self._apart = None
        if torch.distributed.is_initialized():
            for gradient in (task, distill):
                torch.distributed.all_reduce(gradient)
                gradient /= torch.distributed.get_world_size()
        pieces = (rule(task, distill) * scale).split([p.numel() for p in params])
        for param, piece in zip(params, pieces):
            param.grad = piece.view_as(param).to(param.dtype)
        self.step()
        self.zero_grad()

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Where in an accumulation the run stands. Gradients of an unfinished one are part of the checkpoint."""
        self._inner_count, self._max_counts = init_counts, max_counts
        self._remainder_counts = max_counts % self._accumulative_counts

    def state_dict(self) -> dict:
        """The optimiser, the loss scale, and gradients that wait for the rest of an accumulation."""
        state = super().state_dict()
        state['loss_scaler'] = self.loss_scaler.state_dict()
        if self._inner_count % self._accumulative_counts:
            state['pending'] = [p.grad for p in self.parameters]
            state['pending_apart'] = self._apart
        return state

    def load_state_dict(self, state: dict) -> None:
        state = dict(state)
        if self.loss_scaler.is_enabled() and state.get('loss_scaler'):
            self.loss_scaler.load_state_dict(state['loss_scaler'])
        state.pop('loss_scaler', None)
        pending, apart = state.pop('pending', None), state.pop('pending_apart', None)
        super().load_state_dict(state)
        for param, grad in zip(self.parameters, pending or []):
            param.grad = None if grad is None else grad.to(param.device)
        if apart is not None:
            self._apart = [g.to(self.parameters[0].device) for g in apart]


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class OptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Parameters of the student (with mmengine's ``paramwise_cfg``), then the distillers' groups with their own options."""

    def __call__(self, model: nn.Module) -> OptimWrapper:
        model = getattr(model, 'module', model)
        cfg = dict(self.optimizer_cfg)
        student = getattr(model, 'student', model)
        groups = self.student_groups(student, cfg)
        for _, group in (model.param_groups() if hasattr(model, 'param_groups') else ()):
            group = dict(group)
            lr_mult, decay_mult = group.pop('lr_mult', None), group.pop('decay_mult', None)
            if lr_mult is not None:
                group['lr'] = cfg['lr'] * lr_mult
            if decay_mult is not None:
                group['weight_decay'] = cfg.get('weight_decay', 0.0) * decay_mult
            groups.append(group)
        if not any(group['params'] for group in groups):
            raise ValueError('Nothing to train: all parameters of the student are frozen.')
        optimizer = OPTIMIZERS.build(dict(cfg, params=[g for g in groups if g['params']]))
        return OPTIM_WRAPPERS.build(dict({'type': 'OptimWrapper'}, **self.optim_wrapper_cfg),
                                    default_args=dict(optimizer=optimizer))

    def student_groups(self, student: nn.Module, cfg: dict) -> list[dict]:
        """The student's optimiser groups; ``cfg`` is the optimiser's."""
        if not self.paramwise_cfg:
            return [dict(params=[p for p in student.parameters() if p.requires_grad])]
        groups: list[dict] = []
        self.add_params(groups, student, prefix='student')
        return groups
