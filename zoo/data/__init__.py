"""Data sets, per-image pipelines, batched augmentation and the batch pre-processor.

A batch is a plain dict of tensors: ``images`` ``(N, C, H, W)`` uint8 or float32, ``labels`` ``(N,)`` int64 (absent
where a data set is unlabelled), ``indices`` ``(N,)`` int64 (position in the data set) and ``images_<view>`` for further
views. Importing this package imports neither albumentations nor torchvision nor timm; they are imported when first
needed.

Data sets of detection and segmentation (:class:`AnnotatedImages`) give what mmdet's and mmseg's transforms pack instead:
``inputs`` and ``data_samples``; these libraries are imported when such a data set is built.
"""
from zoo.data.annotated_images import AnnotatedImages, FileSource
from zoo.data.arrays import CIFAR10, CIFAR100, ArrayDataset, Digits, NpzDataset
from zoo.data.batch_augment import BatchTransform, Cutout, RandomCropFlip
from zoo.data.coco_detection import CocoDetection
from zoo.data.collate import collate_batch
from zoo.data.dense_pipeline import DensePipeline
from zoo.data.dense_transforms import CheckLabelMap, DenseAlbumentations, LoadLabelMap, check_label_map
from zoo.data.detection_files import BoxReport, UnknownCategoryError, clean_box
from zoo.data.digit_scenes import DigitScenes
from zoo.data.folder import CorruptImageError, ImageFolder
from zoo.data.global_draws import global_draws
from zoo.data.label_noise import draw_class_noise, label_assisted_input, noised_label
from zoo.data.noise import NoiseDataset
from zoo.data.openmmlab_dataset import OpenMMLabDataset
from zoo.data.pipelines import Albumentations, ImagePipeline, ResizeShorterSide
from zoo.data.preprocessor import BatchPreprocessor
from zoo.data.seeding import EpochSeeded
from zoo.data.segmentation_folder import SegmentationFolder
from zoo.data.statistics import teacher_class_means
from zoo.data.strong_augment import StrongAugment
from zoo.data.subsets import stratified_order, subset_positions
from zoo.data.voc_detection import VocDetection

__all__ = [
    'CIFAR10',
    'CIFAR100',
    'Albumentations',
    'AnnotatedImages',
    'ArrayDataset',
    'BatchPreprocessor',
    'BatchTransform',
    'BoxReport',
    'CheckLabelMap',
    'CocoDetection',
    'CorruptImageError',
    'Cutout',
    'DenseAlbumentations',
    'DensePipeline',
    'DigitScenes',
    'Digits',
    'EpochSeeded',
    'FileSource',
    'ImageFolder',
    'ImagePipeline',
    'LoadLabelMap',
    'NoiseDataset',
    'NpzDataset',
    'OpenMMLabDataset',
    'RandomCropFlip',
    'ResizeShorterSide',
    'SegmentationFolder',
    'StrongAugment',
    'UnknownCategoryError',
    'VocDetection',
    'check_label_map',
    'clean_box',
    'collate_batch',
    'draw_class_noise',
    'global_draws',
    'label_assisted_input',
    'noised_label',
    'stratified_order',
    'subset_positions',
    'teacher_class_means',
]
