"""mmengine's Runner with safe checkpoints, exact resume, mixed precision anywhere, and everything built before step one."""
import logging
import uuid
from pathlib import Path

from mmengine.device import get_device
from mmengine.dist import all_gather_object, broadcast, get_rank, master_only
from mmengine.model import convert_sync_batchnorm
from mmengine.runner import Runner as BaseRunner
from mmengine.runner import find_latest_checkpoint

from zoo.registry import RUNNERS

from .checkpoint import (
    load_training_checkpoint,
    pack_message_hub,
    random_state,
    save_training_checkpoint,
    unpack_message_hub,
)
from .distributed import start_processes, wrap
from .memory import keep_freed_memory
from .training_set import RunnerTrainingSet

HOOKS = dict(runtime_info=dict(type='ProgressHook'), timer=dict(type='FiniteHook'), logger=dict(type='RecordHook'))


def _is_news(record: logging.LogRecord) -> bool:
    """False for mmengine's warnings about its own deprecated classes, which a user can do nothing about."""
    old_news = ('FileClient', 'HardDiskBackend', 'no metainfo', 'The prefix is not set in metric',
                'testing results of the whole dataset is empty')
    return not any(word in record.getMessage() for word in old_news)


@RUNNERS.register_module()
class Runner(BaseRunner):
    """Runs a config.

    Differences from mmengine's Runner: checkpoints hold tensors and plain data only, are written atomically, and resume
    to the bit on the CPU, in mid-epoch too; datasets, optimiser, evaluation and statistics passes are all built before the
    first step; the default hooks log without waiting for the GPU and write the run's record.
    """

    def __init__(self, *args, launcher: str = 'none', default_hooks: dict | None = None, experiment_name: str | None = None,
                 **kwargs):
        start_processes(launcher)
        if get_device() == 'cpu':
            keep_freed_memory()
        hooks = dict(HOOKS)
        for name, options in (default_hooks or {}).items():
            hooks[name] = options
        experiment_name = experiment_name or f'run_{uuid.uuid4().hex[:8]}'
        super().__init__(*args, launcher=launcher, default_hooks=hooks, experiment_name=experiment_name, **kwargs)

    def dump_config(self) -> None:
        """Write the config into the run's folder; a test leaves there what the training wrote."""
        trained = self.cfg.filename is not None and Path(self.work_dir, Path(self.cfg.filename).name).is_file()
        if self.cfg.get('train_dataloader') is not None or not trained:
            super().dump_config()

    def build_logger(self, log_level='INFO', log_file=None, **kwargs):
        logger = super().build_logger(log_level, log_file, **kwargs)
        for handler in logger.handlers:  # the console is the progress hook's; the file keeps everything
            if type(handler) is logging.StreamHandler:
                handler.setLevel(logging.WARNING)
                handler.addFilter(_is_news)
        return logger

    def wrap_model(self, model_wrapper_cfg, model):
        model = model.to(get_device())
        if not self.distributed:
            return model
        if self.cfg.get('sync_bn'):
            model = convert_sync_batchnorm(model, self.cfg.sync_bn)
        for frozen in getattr(model, '_frozen', []):  # the wrapper sees only registered modules
            for tensor in frozen.state_dict().values():
                broadcast(tensor)
        options = dict(model_wrapper_cfg or {})
        options.setdefault('find_unused_parameters', self.cfg.get('find_unused_parameters', False))
        return wrap(model, **options)

    @property
    def bare_model(self):
        """The model without a distributed wrapper."""
        return self.model.module if hasattr(self.model, 'module') else self.model

    def train(self):
        """Build what is not built yet, resume if asked to, train.

        Returns:
            The trained model.
        """
        if self._train_loop is None:
            raise RuntimeError('This config has nothing to train: it lacks train_dataloader, train_cfg or optim_wrapper.')
        self._train_loop = self.build_train_loop(self._train_loop)
        if hasattr(self.bare_model, 'prepare'):
            self.bare_model.prepare(self.training_set())
            self.bare_model.to(get_device())
        self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
        self.scale_lr(self.optim_wrapper, self.auto_scale_lr)
        if self.param_schedulers is not None:
            self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
        if self._val_loop is not None:
            self._val_loop = self.build_val_loop(self._val_loop)
        self.call_hook('before_run')
        self.load_or_resume()
        self.optim_wrapper.initialize_count_status(self.model, self._train_loop.iter, self._train_loop.max_iters)
        model = self.train_loop.run()
        self.call_hook('after_run')
        return model

    def training_set(self) -> RunnerTrainingSet:
        """The training set for passes before training."""
        dataset = self.cfg.get('train_dataloader', {}).get('dataset') if self.cfg else None
        test = (self.cfg.get('val_dataloader') or {}).get('dataset', {}) if self.cfg else {}
        return RunnerTrainingSet(self.bare_model, self.train_dataloader,
                                 dataset if isinstance(dataset, dict) else None,
                                 test.get('transforms', test.get('pipeline')) if isinstance(test, dict) else None)

    def save_checkpoint(self, out_dir, filename, file_client_args=None, save_optimizer=True, save_param_scheduler=True,
                        meta=None, by_epoch=True, backend_args=None) -> None:
        """Write a training checkpoint that loads with ``weights_only=True``."""
        meta = dict(meta or {})
        meta.setdefault('epoch', self.epoch + 1 if by_epoch else self.epoch)
        meta.setdefault('iter', self.iter if by_epoch else self.iter + 1)
        if not by_epoch and meta['iter'] == (meta['epoch'] + 1) * len(self.train_dataloader):
            meta['epoch'] += 1
        meta.update(cfg=self.cfg.pretty_text, seed=self.seed, processes=self.world_size,
                    batches_per_epoch=len(self.train_dataloader),
                    sampler_seed=getattr(self.train_dataloader.sampler, 'seed', None))
        checkpoint = dict(meta=meta, state_dict=self.bare_model.state_dict(), message_hub=pack_message_hub(self.message_hub),
                          random=all_gather_object(random_state()))
        if save_optimizer:
            checkpoint['optimizer'] = self.optim_wrapper.state_dict()
        if save_param_scheduler and self.param_schedulers is not None:
            checkpoint['param_schedulers'] = [s.state_dict() for s in self.param_schedulers]
        self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
        self._write(checkpoint, Path(out_dir) / filename)

    @master_only
    def _write(self, checkpoint: dict, path: Path) -> None:
        save_training_checkpoint(checkpoint, path)

    def load_checkpoint(self, filename, map_location='cpu', strict=True, revise_keys=()):
        """Load a checkpoint's weights into the model.

        Raises:
            FileNotFoundError, ValueError: see :func:`load_training_checkpoint`.
        """
        checkpoint = load_training_checkpoint(filename, map_location)
        self.bare_model.load_state_dict(checkpoint['state_dict'], strict=strict)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        self._has_loaded = True
        return checkpoint

    def resume(self, filename, resume_optimizer=True, resume_param_scheduler=True, map_location='cpu') -> None:
        """Continue exactly where the checkpoint was written."""
        checkpoint = self.load_checkpoint(filename, map_location)
        meta = checkpoint['meta']
        if meta.get('batches_per_epoch') != len(self.train_dataloader):
            raise ValueError(f'{filename} was written with {meta.get("batches_per_epoch")} batches an epoch, this run has '
                             f'{len(self.train_dataloader)}: resume with the same data, batch_size and number of processes.')
        self.train_loop._epoch, self.train_loop._iter = meta['epoch'], meta['iter']
        if meta['seed'] != self.seed:
            self._randomness_cfg.update(seed=meta['seed'])
            self.set_randomness(**self._randomness_cfg)
        if meta.get('sampler_seed') is not None:
            self.train_dataloader.sampler.seed = meta['sampler_seed']
        self.message_hub.load_state_dict(unpack_message_hub(checkpoint['message_hub']))
        if resume_optimizer and 'optimizer' in checkpoint:
            self.optim_wrapper.load_state_dict(checkpoint['optimizer'])
        if resume_param_scheduler and self.param_schedulers is not None:
            for scheduler, state in zip(self.param_schedulers, checkpoint.get('param_schedulers', [])):
                scheduler.load_state_dict(state)
        states = checkpoint['random']
        self.train_loop.pending_state = states[get_rank()] if get_rank() < len(states) else None
        print(f'resumed {filename}: epoch {meta["epoch"]}, iteration {meta["iter"]}', flush=True)

    def load_or_resume(self) -> None:
        if self._resume and self._load_from is None and find_latest_checkpoint(self.work_dir) is None:
            print(f'nothing to resume in {self.work_dir}: starting from the beginning', flush=True)
            return
        super().load_or_resume()
