"""Data sets, per-image pipelines, batched augmentation and the batch pre-processor.

A batch is a plain dict of tensors: ``images`` ``(N, C, H, W)`` uint8 or float32, ``labels`` ``(N,)`` int64 (absent
where a data set is unlabelled), ``indices`` ``(N,)`` int64 (position in the data set) and ``images_<view>`` for further
views. Importing this package imports neither albumentations nor torchvision nor timm; they are imported when first
needed.
"""
from zoo.data.arrays import CIFAR10, CIFAR100, ArrayDataset, Digits, NpzDataset
from zoo.data.batch_augment import BatchTransform, Cutout, RandomCropFlip
from zoo.data.collate import collate_batch
from zoo.data.folder import CorruptImageError, ImageFolder
from zoo.data.pipelines import Albumentations, ImagePipeline, ResizeShorterSide
from zoo.data.preprocessor import BatchPreprocessor
from zoo.data.seeding import EpochSeeded
from zoo.data.statistics import teacher_class_means
from zoo.data.strong_augment import StrongAugment
from zoo.data.subsets import stratified_order, subset_positions

__all__ = [
    'CIFAR10',
    'CIFAR100',
    'Albumentations',
    'ArrayDataset',
    'BatchPreprocessor',
    'BatchTransform',
    'CorruptImageError',
    'Cutout',
    'Digits',
    'EpochSeeded',
    'ImageFolder',
    'ImagePipeline',
    'NpzDataset',
    'RandomCropFlip',
    'ResizeShorterSide',
    'StrongAugment',
    'collate_batch',
    'stratified_order',
    'subset_positions',
    'teacher_class_means',
]
