"""Hooks of masked-image runs: pictures of reconstructions, and the encoder as a plain ViT."""
import os
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from PIL import Image, ImageDraw
from torch import Tensor

from zoo.registry import HOOKS

from .checkpoint import random_state, restore_random_state
from .ema import student_of
from .hooks import bare, preprocess_of


def draw_reconstructions(pictures: dict[str, Tensor], path: str | os.PathLike, *, mean=None, std=None, side: int = 112) -> Path:
    """Write a PNG with one row an image and one column each of ``original``, ``masked`` and ``reconstructed``.

    Args:
        pictures: as :meth:`zoo.tasks.MaskedImages.pictures` gives them, each ``(N, C, H, W)``.
        path: of the PNG.
        mean, std: per channel, of the normalisation that is taken back; None where there was none.
        side: pixels of one picture, enlarged without smoothing; a larger image keeps its size.
    """
    columns = []
    for name in ('original', 'masked', 'reconstructed'):
        images = pictures[name].detach().float().cpu()
        if std is not None:
            images = images * torch.as_tensor(std).float().cpu().view(1, -1, 1, 1)
            images = images + torch.as_tensor(mean).float().cpu().view(1, -1, 1, 1)
        images = images.clamp(0, 1).mul(255).round().byte()
        columns.append(images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3])
    scale = max(1, side // columns[0].shape[-1])
    gap, header = 4, 14
    tiles = [column.repeat_interleave(scale, 2).repeat_interleave(scale, 3) for column in columns]
    height, width = tiles[0].shape[2] + gap, tiles[0].shape[3] + gap
    canvas = np.full((header + height * len(tiles[0]), width * 3, 3), 255, dtype=np.uint8)
    for column, tile in enumerate(tiles):
        for row, image in enumerate(tile):
            top, left = header + row * height, column * width
            canvas[top:top + height - gap, left:left + width - gap] = image.permute(1, 2, 0).numpy()
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for column, name in enumerate(('original', 'masked', 'reconstructed')):
        draw.text((column * width + 2, 1), name, fill=(0, 0, 0))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path


@HOOKS.register_module()
class ReconstructionHook(Hook):
    """Draws the first images of the evaluation set after each evaluation: ``reconstructions.png`` in the work directory.

    Args:
        number: of images.
        keep: also keep each epoch's picture, ``reconstructions_<epoch>.png``.
    """
    priority = 'LOW'

    def __init__(self, number: int = 8, keep: bool = False):
        self.number, self.keep = number, keep

    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        if batch_idx == 0 and is_main_process():
            self._draw(runner, data_batch)

    before_test_iter = before_val_iter

    def _draw(self, runner, data_batch) -> None:
        model = bare(runner.model)
        before = random_state()
        with torch.no_grad():
            data = model.data_preprocessor(data_batch, training=False)
            data = {key: value[:self.number] for key, value in data.items() if isinstance(value, Tensor)}
            pictures = model.task.pictures(model.student_reader, model.task.batch(data))
        restore_random_state(before)
        statistics = {key: getattr(model.data_preprocessor, key, None) for key in ('mean', 'std')}
        names = ['reconstructions.png']
        if self.keep and hasattr(runner._train_loop, 'epoch'):
            names.append(f'reconstructions_{runner._train_loop.epoch}.png')
        for name in names:
            draw_reconstructions(pictures, Path(runner.work_dir) / name, **statistics)


@HOOKS.register_module()
class EncoderExportHook(Hook):
    """Writes the masked autoencoder's encoder as a plain timm ViT at the end of training: ``encoder.safetensors``.

    The file loads with ``zoo.models.released.load_released``, and into a classifier as the fine-tuning configs do it.
    """
    priority = 'LOW'

    @master_only
    def after_train(self, runner) -> None:
        from zoo.models.mae import export_encoder
        from zoo.models.released import save_released
        student = getattr(runner, 'student_average', None) or student_of(runner)
        save_released(export_encoder(student), Path(runner.work_dir) / 'encoder.safetensors',
                      preprocess=preprocess_of(bare(runner.model)),
                      facts=dict(config=str(runner.cfg.filename or ''), epochs=runner.train_loop.epoch, seed=runner.seed))
