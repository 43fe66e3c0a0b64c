"""What a teacher costs beside a masked autoencoder: on all of the image or on visible patches, whole or up to one block."""
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.distillers import dmae_align_loss, mae_reconstruction_loss
from zoo.models import build_network, masked_taps

#: what is measured, in words
VARIANTS = {
    'full': 'teacher, whole image, all blocks',
    'visible': 'teacher, visible patches, all blocks',
    'partial': 'teacher, visible patches, up to the aligned block',
    'mae': 'step of the student alone (forward, backward)',
    'step_full': 'step with the teacher on the whole image, all blocks',
    'step_partial': 'step of DMAE (partial teacher)',
}


@dataclass(frozen=True)
class MaskedCost:
    """The cost of one variant.

    Attributes:
        mask_ratio: share of the hidden patches.
        visible: patches that stay, of ``patches``.
        variant: a key of :data:`VARIANTS`.
        gflops: of one image, a multiplication and an addition counted as two.
        seconds: of one image, median over the rounds; None where time was not measured.
    """
    mask_ratio: float
    visible: int
    patches: int
    variant: str
    gflops: float
    seconds: float | None


class _Bench:
    def __init__(self, teacher: dict, student: dict, blocks: tuple[int, int], batch_size: int, device: str):
        with torch.device(device):
            self.teacher = build_network(dict(teacher)).eval().requires_grad_(False)
            self.student = build_network(dict(student)).train()
            widths = self.student.norm.normalized_shape[0], self.teacher.norm.normalized_shape[0]
            self.projector = nn.Linear(*widths)
            side = self.student.options['img_size']
            self.images = torch.zeros(batch_size, self.student.options['in_chans'], side, side) if device == 'meta' else \
                torch.rand(batch_size, self.student.options['in_chans'], side, side)
            self.noise = torch.rand(batch_size, self.student.patch_embed.num_patches)
        self.student_block, self.teacher_block = (f'block{block}' for block in blocks)

    def run_teacher(self, mask_ratio: float, name: str):
        with torch.no_grad():
            return masked_taps(self.teacher, self.images, self.noise, mask_ratio=mask_ratio, names=(name,))[name]

    def run_student(self, mask_ratio: float, target=None):
        taps = masked_taps(self.student, self.images, self.noise, mask_ratio=mask_ratio,
                           names=('pred', 'mask', self.student_block))
        loss = mae_reconstruction_loss(taps['pred'], self.images, taps['mask'],
                                       patch_size=self.student.options['patch_size'])
        if target is not None:
            projected = self.projector(taps[self.student_block])
            # which of the whole image's tokens are compared does not matter for the cost
            loss = loss + dmae_align_loss([projected], [target[:, :projected.shape[1]]])
        loss.backward()

    def variants(self, mask_ratio: float) -> dict[str, Callable]:
        return {
            'full': lambda: self.run_teacher(0.0, 'latent'),
            'visible': lambda: self.run_teacher(mask_ratio, 'latent'),
            'partial': lambda: self.run_teacher(mask_ratio, self.teacher_block),
            'mae': lambda: self.run_student(mask_ratio),
            'step_full': lambda: self.run_student(mask_ratio, self.run_teacher(0.0, 'latent')),
            'step_partial': lambda: self.run_student(mask_ratio, self.run_teacher(mask_ratio, self.teacher_block))}


def masked_costs(teacher: dict, student: dict, *, blocks: tuple[int, int], mask_ratios: Sequence[float] = (0.75, 0.95, 0.98),
                 batch_size: int = 1, rounds: int = 3, device: str = 'cpu') -> list[MaskedCost]:
    """FLOPs and time of all variants at each mask ratio.

    FLOPs are counted without computing anything (on torch's meta device); times are the medians of ``rounds`` in which the
    variants take turns, after one that is not counted.

    Args:
        teacher: config of a MaskedAutoencoder or a timm ViT.
        student: config of a MaskedAutoencoder of the same patch grid.
        blocks: the aligned blocks of student and teacher, from 0.
        mask_ratios: shares of hidden patches.
        batch_size: of the timing.
        rounds: 0 leaves the timing out.
        device: of the timing.
    """
    counted = _Bench(teacher, student, blocks, 1, 'meta')
    timed = _Bench(teacher, student, blocks, batch_size, device) if rounds else None
    rows = []
    for mask_ratio in mask_ratios:
        seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        for number in range(rounds + 1 if rounds else 0):
            for variant, run in timed.variants(mask_ratio).items():
                _wait(device)
                start = time.perf_counter()
                run()
                _wait(device)
                if number:
                    seconds[variant].append(time.perf_counter() - start)
        patches = counted.noise.shape[1]
        for variant, run in counted.variants(mask_ratio).items():
            with FlopCounterMode(display=False) as counter:
                run()
            times = seconds[variant]
            rows.append(MaskedCost(mask_ratio, int(patches * (1 - mask_ratio)), patches, variant,
                                   counter.get_total_flops() / 1e9, statistics.median(times) / batch_size if times else None))
    return rows


def _wait(device: str) -> None:
    if device.startswith('cuda'):
        torch.cuda.synchronize()


def cost_table(rows: Sequence[MaskedCost]) -> str:
    """The rows as a Markdown table; shares are of the full teacher, or of the step with the full teacher."""
    whole = {(row.mask_ratio, row.variant): row for row in rows}
    lines = ['| mask ratio | visible | what | GFLOPs an image | share | ms an image | share |', '|' + ' --- |' * 7]
    for row in rows:
        base = whole[row.mask_ratio, 'full' if row.variant in ('full', 'visible', 'partial') else 'step_full']
        timing = '' if row.seconds is None else f'{1000 * row.seconds:.1f} | {100 * row.seconds / base.seconds:.1f} %'
        lines.append(f'| {row.mask_ratio} | {row.visible} of {row.patches} | {VARIANTS[row.variant]} | {row.gflops:.2f} | '
                     f'{100 * row.gflops / base.gflops:.1f} % | {timing or " | "} |')
    return '\n'.join(lines)
