"""Diffusion: a network turns noise into images; a batch is images, or nothing but noise and a condition."""
from collections.abc import Iterable

import torch
from torch import Tensor

from zoo.diffusion import Denoiser, broadcast_left, model_output, sample
from zoo.diffusion.samplers import SAMPLERS
from zoo.distillers.base import Batch
from zoo.distillers.diffusion.progressive_distillation import progressive_distillation_loss
from zoo.registry import TASKS, UnknownNameError, unknown
from zoo.taps import TapReader, Taps

from .base import Task

WEIGHTINGS = ('output', 'constant', 'snr', 'snr_trunc', 'v_mse')


@TASKS.register_module()
class Diffusion(Task):
    """Denoising of images in -1..1, and generation for the evaluation.

    Teacher and student offer one tap, ``denoiser``: a :class:`zoo.diffusion.Denoiser`, which a distiller calls at the times
    that it likes. Train loaders give ``images`` (uint8, normalised to -1..1 by ``mean=(0.5,), std=(0.5,)``) or, where no
    data is used, ``noise`` (:class:`zoo.data.NoiseDataset`).

    Args:
        input_shape: ``(C, H, W)`` of one image.
        num_classes: K of class labels, or None.
        condition_shape: ``(L, D)`` of text embeddings, or None.
        loss_weight: weight of the denoising loss, which trains a teacher; 0, as a distillation wants it, leaves it out.
        weighting: of the denoising loss: ``'output'`` (mean squared error of what the network predicts: Ho et al.'s simple
            loss for noise), or one of progressive distillation's (``'snr_trunc'`` ...).
        label_dropout: share of the labels that are hidden in the denoising loss, so that the network can be guided.
        sampler: how the student draws in the evaluation: ``dict(type='ddim', steps=50, guidance_scale=...)``; see
            :func:`zoo.diffusion.sample`.
        eval_seed: of the evaluation's noise, which is the same each time (an image's depends on its index).
    """
    tap_names = ('denoiser',)

    def __init__(self, input_shape: tuple[int, int, int], num_classes: int | None = None,
                 condition_shape: tuple[int, int] | None = None, loss_weight: float = 1.0, weighting: str = 'output',
                 label_dropout: float = 0.1, sampler: dict | None = None, eval_seed: int = 0):
        self.input_shape, self.num_classes, self.condition_shape = tuple(input_shape), num_classes, condition_shape
        if weighting not in WEIGHTINGS:
            raise ValueError(unknown('weighting', weighting, WEIGHTINGS))
        if not 0 <= label_dropout <= 1:
            raise ValueError(f'label_dropout is a share, 0..1, not {label_dropout}.')
        self.loss_weight, self.weighting, self.label_dropout = loss_weight, weighting, label_dropout
        self.sampler = dict(sampler or dict(type='ddim', steps=50))
        if self.sampler.get('type') not in SAMPLERS:
            raise ValueError(unknown('sampler', str(self.sampler.get('type')), SAMPLERS))
        self.eval_seed = eval_seed

    def default_input(self, teacher) -> None:
        """As they are: noisy images are not renormalised for a teacher."""

    def batch(self, data: dict) -> Batch:
        """The preprocessed dict of the loader.

        ``extra`` holds ``noise`` like the images (the loader's, else from torch's global generator of the device),
        ``condition`` (labels or embeddings, or None) and ``null_condition`` (embeddings that mean none, or None). Without
        images, ``images`` is the noise.
        """
        data = dict(data)
        images, noise = data.pop('images', None), data.pop('noise', None)
        labels, indices = data.pop('labels', None), data.pop('indices', None)
        if images is None and noise is None:
            raise ValueError('The task Diffusion needs images, or noise from NoiseDataset, in each batch.')
        shape = tuple((noise if images is None else images).shape[1:])
        if shape != self.input_shape:
            raise ValueError(f'The data are {shape} and task.input_shape is {self.input_shape}: set one to the other.')
        noise = torch.randn_like(images) if noise is None else noise
        condition = labels if self.num_classes is not None else data.pop('condition', None)
        return Batch(images=noise if images is None else images, labels=labels, hard_labels=labels, indices=indices,
                     extra=dict(noise=noise, condition=condition, null_condition=data.pop('null_condition', None)))

    def run(self, reader: TapReader, batch: Batch, names: Iterable[str]) -> Taps:
        """The tap ``denoiser``; the network is called by whoever reads it.

        Raises:
            UnknownNameError: for other names.
        """
        for name in names:
            if name != 'denoiser':
                raise UnknownNameError(unknown('tap of the task Diffusion', name, self.tap_names))
        return Taps(dict(denoiser=Denoiser(reader.module)))

    def shapes(self, reader: TapReader, names: Iterable[str]) -> dict[str, torch.Size]:
        """The shape of the network's output, by a dry run.

        Raises:
            ValueError: if it is not that of the images.
        """
        condition = None
        if self.condition_shape is not None:
            condition = torch.zeros(2, *self.condition_shape)
        elif self.num_classes is not None:
            condition = torch.zeros(2, dtype=torch.int64)

        def look(example, wanted):
            taps = self.run(reader, Batch(example), wanted)
            return {name: taps[name].output(example, 0.5, condition) for name in wanted}
        found = reader.shapes(tuple(names), self.example(), run=look)
        for shape in found.values():
            if tuple(shape[1:]) != self.input_shape:
                raise ValueError(f'{type(reader.module).__name__} gives {tuple(shape[1:])} for images {self.input_shape}.')
        return found

    def loss(self, denoiser: Denoiser, batch: Batch) -> dict[str, Tensor]:
        """``dict(denoising=...)``, weighted, at one random time an image; empty where ``loss_weight`` is 0."""
        if not self.loss_weight:
            return {}
        images, noise, condition = batch.images, batch.extra['noise'], batch.extra['condition']
        if noise is images:
            raise ValueError('The denoising loss needs images, and the train loader gives noise alone: set task.loss_weight=0.')
        count = len(images)
        # spread evenly over 0..1, with one random offset: less noise in the loss (Kingma et al., NeurIPS 2021)
        t = (torch.rand((), device=images.device) + torch.arange(count, device=images.device) / count) % 1
        t = denoiser.schedule.snap(t.clamp(min=1e-3))
        alpha, sigma = denoiser.alpha_sigma(t)
        noisy = broadcast_left(alpha, images) * images + broadcast_left(sigma, images) * noise
        if condition is not None and self.label_dropout:
            hidden = torch.rand(count, device=images.device) < self.label_dropout
            null = batch.extra['null_condition']
            null = denoiser.network.null_condition(condition) if null is None else null
            condition = torch.where(broadcast_left(hidden.float(), condition) > 0, null, condition)
        output = denoiser.output(noisy, t, condition)
        if self.weighting == 'output':
            loss = (output - model_output(images, noisy, alpha, sigma, denoiser.prediction_type)).square().mean()
        else:
            loss = progressive_distillation_loss(output, noisy, images, 2 * (alpha / sigma).log(), weighting=self.weighting,
                                                 prediction_type=denoiser.prediction_type)
        return dict(denoising=self.loss_weight * loss)

    def predict(self, reader: TapReader, batch: Batch, teacher_logits=None) -> list[dict]:
        """For the metric: ``samples`` drawn for the batch's conditions, its ``images``, both ``(N, C, H, W)`` in -1..1, and its
        ``labels`` if it has some."""
        noise = self.eval_noise(batch)
        generator = torch.Generator().manual_seed(self.eval_seed)
        settings = dict(self.sampler)
        samples = sample(Denoiser(reader.module), noise, batch.extra['condition'], sampler=settings.pop('type'),
                         null_condition=batch.extra['null_condition'], generator=generator, **settings)
        found = dict(samples=samples, images=batch.images)
        if batch.labels is not None:
            found['labels'] = batch.labels
        return [found]

    def eval_noise(self, batch: Batch) -> Tensor:
        """``(N, C, H, W)`` that depends on ``eval_seed`` and each image's index (its place in the batch where it has none)."""
        indices = range(len(batch)) if batch.indices is None else batch.indices.tolist()
        generator = torch.Generator()
        rows = [torch.randn(self.input_shape, generator=generator.manual_seed(self.eval_seed * 1_000_003 + index))
                for index in indices]
        return torch.stack(rows).to(batch.images.device)
