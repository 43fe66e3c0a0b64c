"""A noised label map as a further channel of the images, for label-assisted distillation.

Qiu, Chen, Li, Wan, Xue, Pu: Make a Strong Teacher with Label Assistance. ECCV 2024, arXiv:2407.13254.
Reference code: skyshoumeng/Label_Assisted_Distillation@cd08406 (train_baseline.py).
"""
import torch
from torch import Tensor


def draw_class_noise(num_images: int, num_classes: int, *, kind: str = 'normal',
                     generator: torch.Generator | None = None) -> Tensor:
    """``(num_images, num_classes + 1)`` float32: the value that stands for each class; the last column for ignored pixels.

    Args:
        kind: ``'normal'``: standard normal, drawn for each image and class; ``'ramp'``: ``(k - (K + 1) / 2) / 10`` for
            the column k, the same for all images.
        generator: of the draws; by default torch's global one. The result is on the generator's device.

    Raises:
        ValueError: for another kind.
    """
    if kind == 'normal':
        device = 'cpu' if generator is None else generator.device
        return torch.randn(num_images, num_classes + 1, generator=generator, device=device)
    if kind == 'ramp':
        ramp = (torch.arange(num_classes + 1) - (num_classes + 1) / 2) / 10
        return ramp.repeat(num_images, 1)
    raise ValueError(f"The kind of class noise is 'normal' or 'ramp', not {kind!r}.")


def noised_label(labels: Tensor, class_noise: Tensor, pixel_noise: Tensor, *, ignore_index: int = -1,
                 pixel_sigma: float = 0.03, scale: float | Tensor = 100.0) -> Tensor:
    """``(N, 1, H, W)``: each pixel's class looked up in its image's table, plus noise of its own, times ``scale``.

    Args:
        labels: ``(N, H, W)`` int64, classes from 0 to K-1 or ``ignore_index``.
        class_noise: ``(N, K + 1)``, see :func:`draw_class_noise`.
        pixel_noise: ``(N, 1, H, W)`` standard normal; times ``pixel_sigma``.
        scale: 100 for images of mean-subtracted 0..255 pixels; with a division by the deviation ``std`` (in the same
            pixels) that is ``100 / std``.

    Raises:
        ValueError: if shapes do not fit, or (on the CPU) a label is neither a class nor ``ignore_index``.
    """
    if labels.dim() != 3 or class_noise.dim() != 2 or len(class_noise) != len(labels):
        raise ValueError(f'noised_label needs labels (N, H, W) and class_noise (N, K + 1), got {tuple(labels.shape)} and '
                         f'{tuple(class_noise.shape)}.')
    if pixel_noise.shape != (len(labels), 1, *labels.shape[1:]):
        raise ValueError(f'noised_label needs pixel_noise (N, 1, H, W) for labels {tuple(labels.shape)}, got '
                         f'{tuple(pixel_noise.shape)}.')
    last = class_noise.shape[1] - 1
    ignored = labels == ignore_index
    if labels.device.type == 'cpu':  # elsewhere this would wait for the device
        wrong = labels[~ignored & ((labels < 0) | (labels >= last))]
        if len(wrong):
            raise ValueError(f'Labels {sorted(set(wrong.tolist()))[:5]} are outside of the {last} classes and not the '
                             f'ignore_index {ignore_index}.')
    columns = labels.masked_fill(ignored, last).long()
    values = class_noise.gather(1, columns.flatten(1)).view(len(labels), 1, *labels.shape[1:])
    return (values + pixel_sigma * pixel_noise) * scale


def label_assisted_input(images: Tensor, labels: Tensor, class_noise: Tensor, pixel_noise: Tensor, *,
                         ignore_index: int = -1, pixel_sigma: float = 0.03, scale: float | Tensor = 100.0) -> Tensor:
    """``(N, C + 1, H, W)``: the images with the noised label map behind their channels, in the images' dtype.

    Args:
        images: ``(N, C, H, W)``, normalised.
        labels, class_noise, pixel_noise, ignore_index, pixel_sigma, scale: see :func:`noised_label`.

    Raises:
        ValueError: if images and labels differ in size, or as :func:`noised_label`.
    """
    if images.shape[2:] != labels.shape[1:] or len(images) != len(labels):
        raise ValueError(f'Images {tuple(images.shape)} and labels {tuple(labels.shape)} differ in size.')
    label_map = noised_label(labels, class_noise, pixel_noise, ignore_index=ignore_index, pixel_sigma=pixel_sigma,
                             scale=scale)
    return torch.cat([images, label_map.to(images.dtype)], dim=1)
