"""Masked images: a network sees a part of each image's patches and predicts the pixels of the others."""
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor

from zoo.distillers.base import Batch
from zoo.distillers.vit.dmae import mae_reconstruction_loss, mae_target
from zoo.models.mae import mask_indices, masked_taps, unpatchify
from zoo.registry import TASKS
from zoo.taps import TapReader, Taps

from .base import Task


@TASKS.register_module()
class MaskedImages(Task):
    """Images without labels; a random part of their patches is hidden (He et al., CVPR 2022, arXiv:2111.06377).

    The student is a :class:`zoo.models.MaskedAutoencoder`. A teacher, which may also be a timm ViT, sees the same visible
    patches in the same order and is run only up to the last block that a distiller reads. Taps are those of
    :func:`zoo.models.masked_taps`: ``pred``, ``latent``, ``block0``, ``block1``, ...

    Args:
        input_shape: ``(C, H, W)`` of one image as the networks see it, square.
        patch_size: p, of all networks.
        mask_ratio: share of the hidden patches.
        norm_pix: predict each patch's pixels after standardising them by the patch's own mean and deviation.
        loss_weight: weight of the reconstruction; 0 leaves it out.
        eval_seed: of the masks of the evaluation, which are the same each time (an image's depends on its index).
    """
    tap_names = ('pred',)

    def __init__(self, input_shape: tuple[int, int, int] = (3, 224, 224), patch_size: int = 16, mask_ratio: float = 0.75,
                 norm_pix: bool = False, loss_weight: float = 1.0, eval_seed: int = 0):
        self.input_shape = tuple(input_shape)
        _, height, width = self.input_shape
        if height != width or height % patch_size:
            raise ValueError(f'MaskedImages needs square images whose side is a multiple of patch_size={patch_size}, not '
                             f'{height}x{width}.')
        self.patch_size, self.mask_ratio, self.norm_pix = patch_size, mask_ratio, norm_pix
        self.loss_weight, self.eval_seed = loss_weight, eval_seed
        self.num_patches = (height // patch_size)**2
        mask_indices(torch.zeros(1, self.num_patches), mask_ratio=mask_ratio)  # a wrong ratio is told now

    def batch(self, data: dict) -> Batch:
        """The preprocessed dict of the loader with a mask of its own for each image.

        ``extra`` holds ``noise`` ``(N, L)``, drawn from torch's global generator of the device, and what it means:
        ``mask``, ``ids_restore`` and ``ids_keep`` (:func:`zoo.models.mask_indices`).
        """
        data = dict(data)
        images = data.pop('images')
        noise = torch.rand(len(images), self.num_patches, device=images.device)
        return self._masked(images, noise, labels=data.pop('labels', None), indices=data.pop('indices', None))

    def _masked(self, images: Tensor, noise: Tensor, **others) -> Batch:
        return Batch(images=images, extra=dict(noise=noise, **mask_indices(noise, mask_ratio=self.mask_ratio)), **others)

    def run(self, reader: TapReader, batch: Batch, names: Iterable[str]) -> Taps:
        """The taps ``names`` of one network on the visible patches.

        Raises:
            UnknownNameError: for other names, also views (``block3@strong``).
            ValueError: if the network cannot be run on a part of its patches, or cuts images into other patches.
        """
        images = batch.images if reader.prepare is None else reader.prepare(batch.images)
        values = masked_taps(reader.module, images, batch.extra['noise'], mask_ratio=self.mask_ratio, names=names)
        return Taps(values, run=lambda images, names: self.run(reader, self._masked(images, batch.extra['noise']), names))

    def shapes(self, reader: TapReader, names: Iterable[str]) -> dict[str, torch.Size]:
        """Shapes of the taps, by a dry run with one fixed mask."""
        noise = torch.zeros(2, self.num_patches)
        return reader.shapes(tuple(names), self.example(),
                             run=lambda images, names: self.run(reader, self._masked(images, noise), names))

    def loss(self, pred: Tensor, batch: Batch) -> dict[str, Tensor]:
        """``dict(reconstruction=...)``, weighted; empty where ``loss_weight`` is 0."""
        if not self.loss_weight:
            return {}
        loss = mae_reconstruction_loss(pred, batch.images, batch.extra['mask'], patch_size=self.patch_size,
                                       norm_pix=self.norm_pix)
        return dict(reconstruction=self.loss_weight * loss)

    def predict(self, reader: TapReader, batch: Batch, teacher_logits=None) -> list[dict]:
        """For the metric: ``pred`` and ``target`` ``(N, L, p * p * C)`` and ``mask`` ``(N, L)``, with evaluation's masks."""
        batch = self._masked(batch.images, self.eval_noise(batch))
        pred = self.run(reader, batch, ('pred',))['pred']
        target = mae_target(batch.images, patch_size=self.patch_size, norm_pix=self.norm_pix)
        return [dict(pred=pred, target=target, mask=batch.extra['mask'])]

    def eval_noise(self, batch: Batch) -> Tensor:
        """``(N, L)`` that depends on ``eval_seed`` and each image's index (its place in the batch where it has none)."""
        indices = range(len(batch)) if batch.indices is None else batch.indices.tolist()
        generator = torch.Generator()
        rows = [torch.rand(self.num_patches, generator=generator.manual_seed(self.eval_seed * 1_000_003 + index))
                for index in indices]
        return torch.stack(rows).to(batch.images.device)

    def pictures(self, reader: TapReader, batch: Batch) -> dict[str, Tensor]:
        """Images ``(N, C, H, W)`` as normalised for the network: ``original``, ``masked`` (hidden patches 0) and
        ``reconstructed`` (visible patches as they are, hidden ones as predicted)."""
        found = self.predict(reader, batch)[0]
        own = partial(unpatchify, patch_size=self.patch_size)
        patches = mae_target(batch.images, patch_size=self.patch_size)
        pred, hidden = found['pred'].to(patches.dtype), found['mask'][..., None]
        if self.norm_pix:
            pred = pred * (patches.var(-1, keepdim=True) + 1e-6).sqrt() + patches.mean(-1, keepdim=True)
        return dict(original=batch.images, masked=own(patches * (1 - hidden)),
                    reconstructed=own(torch.where(hidden > 0, pred, patches)))
