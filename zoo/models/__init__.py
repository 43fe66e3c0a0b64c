"""Networks only: each is usable without the rest of the zoo.

Every network gives ``forward(x) -> logits`` and ``forward_taps(x, names) -> dict`` of named inner tensors. timm and
torchvision are imported only when a network of theirs is built.
"""
from zoo.models.adaptor_mlp import MLP2
from zoo.models.build import build_network
from zoo.models.checkpoint import CheckpointError, LoadReport, load_checkpoint, read_state_dict
from zoo.models.cifar_mobilenetv2 import MobileNetV2
from zoo.models.cifar_resnet import (
    CifarResNet,
    resnet8,
    resnet8x4,
    resnet14,
    resnet20,
    resnet32,
    resnet32x4,
    resnet44,
    resnet56,
    resnet110,
)
from zoo.models.cifar_resnet_four_stage import FourStageResNet, ResNet18, ResNet34, ResNet50
from zoo.models.cifar_shufflenetv1 import ShuffleV1
from zoo.models.cifar_shufflenetv2 import ShuffleV2
from zoo.models.cifar_vgg import CifarVGG, vgg8, vgg11, vgg13, vgg16, vgg19
from zoo.models.cifar_wrn import CifarWRN, wrn_16_1, wrn_16_2, wrn_40_1, wrn_40_2
from zoo.models.diffusers_model import DiffusersModel
from zoo.models.diffusion_unet import DiffusionUNet
from zoo.models.heads import AuxHead
from zoo.models.imagenet_mobilenetv1 import ImageNetMobileNetV1, mobilenet_v1
from zoo.models.label_assisted import LabelAssistedSegmentor
from zoo.models.mae import (
    MaskedAutoencoder,
    export_encoder,
    mask_indices,
    masked_taps,
    patchify,
    random_masking,
    sincos_pos_embed_2d,
    unpatchify,
)
from zoo.models.network import ClassificationNetwork
from zoo.models.openmmlab import MMDetModel, MMSegModel, TimmBackbone
from zoo.models.python_file import PythonFileModel
from zoo.models.tap_points import generic_tap_points
from zoo.models.timm_model import TimmModel
from zoo.models.torchvision_model import TorchvisionModel

__all__ = [
    'AuxHead', 'CheckpointError', 'CifarResNet', 'CifarVGG', 'CifarWRN', 'ClassificationNetwork', 'DiffusersModel',
    'DiffusionUNet', 'FourStageResNet', 'ImageNetMobileNetV1', 'LabelAssistedSegmentor', 'LoadReport', 'MLP2',
    'MMDetModel', 'MMSegModel', 'MaskedAutoencoder', 'MobileNetV2', 'PythonFileModel', 'ResNet18', 'ResNet34',
    'ResNet50', 'ShuffleV1', 'ShuffleV2', 'TimmBackbone', 'TimmModel', 'TorchvisionModel', 'build_network',
    'export_encoder', 'generic_tap_points', 'load_checkpoint', 'mask_indices', 'masked_taps', 'mobilenet_v1',
    'patchify', 'random_masking', 'read_state_dict', 'resnet8', 'resnet8x4', 'resnet14', 'resnet20', 'resnet32',
    'resnet32x4', 'resnet44', 'resnet56', 'resnet110', 'sincos_pos_embed_2d', 'unpatchify', 'vgg8', 'vgg11',
    'vgg13', 'vgg16', 'vgg19', 'wrn_16_1', 'wrn_16_2', 'wrn_40_1', 'wrn_40_2',
]
