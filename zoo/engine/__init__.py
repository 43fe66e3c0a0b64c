"""The engine: mixed precision on any device, safe and exact checkpoints, progress, distributed training."""
from .checkpoint import load_training_checkpoint, random_state, restore_random_state, save_training_checkpoint
from .class_table import ClassTableHook, class_table
from .distributed import DistributedDataParallel
from .ema import EMAHook
from .hooks import FiniteHook, ProgressHook, RecordHook
from .launch import default_work_dir, prepare_config, test, train
from .layer_decay import LayerDecayConstructor
from .loops import EpochLoop, EvalLoop
from .masked_images import EncoderExportHook, ReconstructionHook, draw_reconstructions
from .optim import OptimWrapper, OptimWrapperConstructor
from .predict import Prediction, Predictor, compare_predictions, load_predictor, predict_files
from .progressive import ProgressiveRoundsHook
from .runner import Runner
from .training_set import RunnerTrainingSet

__all__ = [
    'ClassTableHook', 'DistributedDataParallel', 'EMAHook', 'EncoderExportHook', 'EpochLoop', 'EvalLoop', 'FiniteHook',
    'LayerDecayConstructor', 'OptimWrapper', 'OptimWrapperConstructor', 'Prediction', 'Predictor', 'ProgressHook',
    'ProgressiveRoundsHook', 'ReconstructionHook', 'RecordHook', 'Runner', 'RunnerTrainingSet', 'class_table',
    'compare_predictions', 'default_work_dir', 'draw_reconstructions', 'load_predictor', 'load_training_checkpoint',
    'predict_files', 'prepare_config', 'random_state', 'restore_random_state', 'save_training_checkpoint', 'test', 'train',
]
