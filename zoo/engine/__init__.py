"""The engine: mixed precision on any device, safe and exact checkpoints, progress, distributed training."""
from .checkpoint import load_training_checkpoint, random_state, restore_random_state, save_training_checkpoint
from .distributed import DistributedDataParallel
from .ema import EMAHook
from .hooks import FiniteHook, ProgressHook, RecordHook
from .launch import default_work_dir, prepare_config, test, train
from .layer_decay import LayerDecayConstructor
from .loops import EpochLoop, EvalLoop
from .masked_images import EncoderExportHook, ReconstructionHook, draw_reconstructions
from .optim import OptimWrapper, OptimWrapperConstructor
from .runner import Runner
from .training_set import RunnerTrainingSet

__all__ = [
    'DistributedDataParallel', 'EMAHook', 'EncoderExportHook', 'EpochLoop', 'EvalLoop', 'FiniteHook', 'LayerDecayConstructor',
    'OptimWrapper', 'OptimWrapperConstructor', 'ProgressHook', 'ReconstructionHook', 'RecordHook', 'Runner',
    'RunnerTrainingSet', 'default_work_dir', 'draw_reconstructions', 'load_training_checkpoint', 'prepare_config',
    'random_state', 'restore_random_state', 'save_training_checkpoint', 'test', 'train',
]
