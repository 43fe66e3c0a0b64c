"""A segmentor of mmseg that sees the noised ground truth as a further input channel: the teacher of LAD.

Qiu, Chen, Li, Wan, Xue, Pu: Make a Strong Teacher with Label Assistance. ECCV 2024, arXiv:2407.13254.
Reference code: skyshoumeng/Label_Assisted_Distillation@cd08406.
"""
import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.openmmlab import MMSegModel
from zoo.registry import MODELS

#: the released label scale, for images of 0..255 pixels without a division by their deviation
PIXEL_SCALE = 100.0


def add_input_channel(backbone: nn.Module, std: float = 1e-4) -> None:
    """Widen, in place, every convolution that takes the three image channels by a fourth, drawn from ``N(0, std^2)``.

    The weights of the first three stay. (A few backbones look at the images in more than one place.)

    Raises:
        ValueError: if there is none.
    """
    stems = [m for m in backbone.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3 and m.groups == 1]
    if not stems:
        raise ValueError(f'{type(backbone).__name__} has no convolution with three input channels, which a label map could be '
                         'added to.')
    for stem in stems:
        further = std * torch.randn_like(stem.weight[:, :1])
        stem.weight = nn.Parameter(torch.cat([stem.weight.detach(), further], dim=1))
        stem.in_channels += 1


def labels_like(data_samples: list, size: tuple[int, int], ignore_index: int) -> Tensor:
    """``(N, *size)`` int64 ground truth of mmseg's samples for inputs of ``size``.

    Each map is brought to its image's own ``img_shape`` by the nearest neighbour (evaluation keeps the annotation at the
    original size) and padded by ``ignore_index``.

    Raises:
        ValueError: if a sample has no annotation.
    """
    maps = []
    for sample in data_samples or [None]:
        if sample is None or 'gt_sem_seg' not in sample:
            raise ValueError('This network sees the ground truth of the images that it segments, and here is none: use the '
                             'student that was distilled from it.')
        label = sample.gt_sem_seg.data
        own = tuple(sample.metainfo.get('img_shape', size))[:2]
        own = (min(own[0], size[0]), min(own[1], size[1]))
        if tuple(label.shape[-2:]) not in (own, tuple(size)):
            label = F.interpolate(label[None].float(), own, mode='nearest')[0]
        padding = (0, size[1] - label.shape[-1], 0, size[0] - label.shape[-2])
        maps.append(F.pad(label.long(), padding, value=ignore_index)[0])
    return torch.stack(maps)


class LabelAssistance:
    """What a label-assisted segmentor adds to mmseg's class, whose names in the state dict stay; ``label_scale`` is added."""
    #: told in records and cards: scores of this network are not comparable with those of networks without labels
    privileged = 'sees the noised ground truth of the images, also in validation'
    scale_known = False

    def normalised_by(self, preprocessor: nn.Module) -> None:
        """Derive the scale of the label map, where none is given or loaded: ``100 / mean(std)``, without a std 100."""
        if self.label_scale.isnan():
            std = getattr(preprocessor, 'std', None)
            self.label_scale.fill_(PIXEL_SCALE if std is None else PIXEL_SCALE / float(std.float().mean()))

    def with_labels(self, images: Tensor, data_samples: list, generator: torch.Generator | None = None) -> Tensor:
        """:meth:`compose_input` with the ground truth of mmseg's samples."""
        if images.shape[1] > 3:
            return images
        labels = labels_like(data_samples, images.shape[2:], self.assistance['ignore_index'])
        return self.compose_input(images, labels, generator=generator)

    def compose_input(self, images: Tensor, labels: Tensor | None = None, *,
                      generator: torch.Generator | None = None) -> Tensor:
        """``(N, 4, H, W)``: the images with their noised label map; with zeros where no labels are given.

        Args:
            images: ``(N, 3, H, W)``, normalised; four channels are returned as they are.
            labels: ``(N, H, W)`` int64, classes or ``ignore_index``.
            generator: of the noise, on the CPU; by default torch's global ones.

        Raises:
            ValueError: if the scale of the label map is not known.
        """
        if images.shape[1] > 3:
            return images
        if labels is None:
            return F.pad(images, (0, 0, 0, 0, 0, 1))
        if not self.scale_known:  # asked once: on a GPU the question waits for the device
            self.scale_known = not self.label_scale.isnan()
        if not self.scale_known:
            raise ValueError('The scale of the label map follows from the preprocessing, and none is known: set scale of '
                             'LabelAssistedSegmentor (100 over the std that images in 0..255 are divided by).')
        from zoo.data.label_noise import draw_class_noise, label_assisted_input
        options = self.assistance
        class_noise = draw_class_noise(len(images), self.num_classes, kind=options['noise'], generator=generator)
        shape, device = (len(images), 1, *images.shape[2:]), images.device
        noise = (torch.randn(shape, device=device) if generator is None
                 else torch.randn(shape, generator=generator).to(device))
        return label_assisted_input(images, labels.long(), class_noise.to(device), noise, pixel_sigma=options['pixel_sigma'],
                                    ignore_index=options['ignore_index'], scale=self.label_scale)

    def extract_feat(self, inputs: Tensor):
        return super().extract_feat(self.compose_input(inputs))

    def loss(self, inputs: Tensor, data_samples: list) -> dict:
        return super().loss(self.with_labels(inputs, data_samples), data_samples)

    def predict(self, inputs: Tensor, data_samples: list | None = None) -> list:
        same_each_time = torch.Generator().manual_seed(0)
        return super().predict(self.with_labels(inputs, data_samples, same_each_time), data_samples)


@functools.cache
def _assisted(segmentor: type) -> type:
    return type(f'LabelAssisted{segmentor.__name__}', (LabelAssistance, segmentor), dict(__module__=__name__))


@MODELS.register_module()
def LabelAssistedSegmentor(config: str | None = None, model: dict | None = None, num_classes: int | None = None,
                           pretrained: bool = False, noise: str = 'normal', pixel_sigma: float = 0.03,
                           scale: float | None = None, ignore_index: int = 255) -> nn.Module:
    """A segmentor of mmseg whose stem has a fourth channel for the noised label map (ImageNet weights for the first three).

    In training and in validation it reads the ground truth from the samples; without samples the channel is zero. Its
    validation scores are therefore **privileged**. The state dict has mmseg's names, and ``label_scale``.

    Args:
        config, model, num_classes, pretrained: of :func:`zoo.models.MMSegModel`.
        noise: of the classes: ``'normal'``, drawn anew for each image (training the teacher), or ``'ramp'``, always the same
            (the released code while the student learns); see :func:`zoo.data.draw_class_noise`.
        pixel_sigma: of the pixels' own noise: 0.03 for the teacher, 0.02 while the student learns.
        scale: of the label map; None: that of the checkpoint, or derived from the normalisation of the images in training.
        ignore_index: of the labels.

    Raises:
        ValueError: for another noise, or a backbone without a stem of three channels.
    """
    from zoo.data.label_noise import draw_class_noise
    draw_class_noise(0, 1, kind=noise)  # a wrong kind is told now
    network = MMSegModel(config=config, model=model, num_classes=num_classes, pretrained=pretrained)
    add_input_channel(network.backbone)
    network.__class__ = _assisted(type(network))
    network.assistance = dict(noise=noise, pixel_sigma=pixel_sigma, ignore_index=ignore_index)
    network.register_buffer('label_scale', torch.tensor(float('nan') if scale is None else float(scale)))
    network.build_config.update(network.assistance, type='LabelAssistedSegmentor')
    return network
