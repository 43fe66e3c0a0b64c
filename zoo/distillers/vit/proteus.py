"""Proteus: a small ViT that behaves like a foundation model, from ImageNet's images alone.

Zhang, Ma, Wang, Wang, Wang: Accessing Vision Foundation Models via ImageNet-1K. ICLR 2025, arXiv:2407.10366.
Reference code: BeSpontaneous/Proteus-pytorch@8b1b274 (pretrain/models_proteus_dinov2.py, models_proteus_clip.py).
"""
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['Proteus', 'ProteusHeads', 'proteus_loss', 'proteus_mask']


def proteus_loss(student_token: Tensor, teacher_token: Tensor, student_patch: Tensor | None = None,
                 teacher_patch: Tensor | None = None, student_masked: Tensor | None = None, mask: Tensor | None = None, *,
                 lambda_token: float = 1.0, lambda_fea: float = 1.0, lambda_patch: float = 1.0) -> dict[str, Tensor]:
    """Mean squared errors at three levels, weights included; levels without input are left out.

    ``token``: the class token. ``fea``: class token and patches as one sequence ``(N, 1 + L, D)``. ``patch``: the masked
    view's hidden patches alone; left out too where none is hidden.

    Args:
        student_token, teacher_token: ``(N, D)``; the student's are projected.
        student_patch, teacher_patch: ``(N, L, D)``, or None.
        student_masked: ``(N, L, D)`` of the masked view, or None.
        mask: ``(N, L)`` bool, True where hidden.
        lambda_token, lambda_fea, lambda_patch: weights.
    """
    def full(x: Tensor) -> Tensor:
        return x.to(torch.promote_types(x.dtype, torch.float32))

    student_token, teacher_token = full(student_token), full(teacher_token.detach())
    losses = dict(token=lambda_token * F.mse_loss(student_token, teacher_token))
    if student_patch is not None and teacher_patch is not None:
        student = torch.cat([student_token[:, None], full(student_patch)], dim=1)
        teacher = torch.cat([teacher_token[:, None], full(teacher_patch.detach())], dim=1)
        losses['fea'] = lambda_fea * F.mse_loss(student, teacher)
    if student_masked is not None and teacher_patch is not None and mask is not None and mask.any():
        losses['patch'] = lambda_patch * F.mse_loss(full(student_masked[mask]), full(teacher_patch.detach()[mask]))
    return losses


def proteus_mask(noise: Tensor, *, mask_probability: float = 0.5, mask_ratio: float | tuple[float, float] = 0.5,
                 ratio_noise: Tensor | None = None, order: Tensor | None = None) -> Tensor:
    """Which patches of which images are hidden, ``(N, L)`` bool.

    The first ``int(N * mask_probability)`` images hide ``int(L * mask_ratio)`` patches each, those with the smallest noise.

    Args:
        noise: ``(N, L)``, uniform in [0, 1).
        mask_probability: share of the masked images.
        mask_ratio: share of the patches; or ``(low, high)``, between which the M masked images take one each: the i-th
            uniformly from the i-th of M equal parts.
        ratio_noise: ``(M,)`` or longer, uniform in [0, 1), for the draws from those parts.
        order: ``(N,)`` int64, a permutation of the images; the first of it are masked. None takes them as they come.
    """
    count, length = noise.shape
    masked = int(count * mask_probability)
    if isinstance(mask_ratio, Sequence):
        low, high = mask_ratio
        steps = (torch.arange(masked, device=noise.device) + ratio_noise[:masked].to(noise.device)) / max(masked, 1)
        hidden = ((low + (high - low) * steps) * length).long()
    else:
        hidden = torch.full((masked,), int(length * mask_ratio), device=noise.device)
    mask = torch.zeros(count, length, dtype=torch.bool, device=noise.device)
    mask[:masked] = noise[:masked].argsort(dim=1).argsort(dim=1) < hidden[:, None]
    return mask if order is None else torch.zeros_like(mask).index_copy_(0, order, mask)


class ProteusHeads(nn.Module):
    """One LayerNorm and Linear for each of the three levels.

    Args:
        student_dim, teacher_dim: widths.
    """

    def __init__(self, student_dim: int, teacher_dim: int):
        super().__init__()
        self.token_head = _head(student_dim, teacher_dim)
        self.fea_head = _head(student_dim, teacher_dim)
        self.patch_head = _head(student_dim, teacher_dim)

    def forward(self, token: Tensor, patch: Tensor | None = None, masked: Tensor | None = None) -> dict[str, Tensor]:
        """``token`` ``(N, D)``, ``patch`` and ``masked`` ``(N, L, D)``, projected; None is left out."""
        projected = dict(token=self.token_head(token))
        if patch is not None:
            projected['patch'] = self.fea_head(patch)
        if masked is not None:
            projected['masked'] = self.patch_head(masked)
        return projected


def _head(student_dim: int, teacher_dim: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(student_dim, eps=1e-5), nn.Linear(student_dim, teacher_dim))


@DISTILLERS.register_module()
class Proteus(Distiller):
    """Proteus: regress class token, all tokens and masked patches, without labels (Zhang et al., ICLR 2025, arXiv:2407.10366).

    The student is run twice: on the images, and with a part of the patch embeddings replaced by a mask token, before the
    positions are added. Needs a timm ViT with class token as the student, and a teacher with the same patch grid (with
    ``lambda_fea=lambda_patch=0``, as for CLIP, any grid). Set ``task.loss_weight=0``: the method uses no labels.

    Args:
        lambda_token, lambda_fea, lambda_patch: weights of the levels; 0 leaves a level (and its pass) out.
        mask_probability, mask_ratio: see :func:`proteus_mask`.
        mask_first_n: the first images of a batch are the masked ones; else random ones.
        student_tokens, teacher_tokens: taps ``(N, P + L, D)`` behind the final norm, the class token first.
    """

    def __init__(self, lambda_token: float = 1.0, lambda_fea: float = 1.0, lambda_patch: float = 1.0,
                 mask_probability: float = 0.5, mask_ratio: float | tuple[float, float] = 0.5, mask_first_n: bool = True,
                 student_tokens: str = 'tokens', teacher_tokens: str = 'tokens'):
        super().__init__()
        bounds = tuple(mask_ratio) if isinstance(mask_ratio, Sequence) else (mask_ratio, mask_ratio)
        if len(bounds) != 2 or not 0 <= bounds[0] <= bounds[1] <= 1 or not 0 <= mask_probability <= 1:
            raise ValueError(f'Proteus: mask_probability={mask_probability} and mask_ratio={mask_ratio} must lie in [0, 1].')
        self.weights = dict(lambda_token=lambda_token, lambda_fea=lambda_fea, lambda_patch=lambda_patch)
        self.mask_probability, self.mask_first_n = mask_probability, mask_first_n
        self.mask_ratio = bounds if isinstance(mask_ratio, Sequence) else mask_ratio
        self.student_tokens, self.teacher_tokens = student_tokens, teacher_tokens
        self.needs = Needs(student=(student_tokens,), teacher=(teacher_tokens,))

    def build(self, shapes):
        student, teacher = shapes.student[self.student_tokens], shapes.teacher[self.teacher_tokens]
        self.student_prefix = shapes.student_net.num_prefix_tokens
        self.teacher_prefix = shapes.teacher_net.num_prefix_tokens
        for name, prefix, shape in (('student', self.student_prefix, student), ('teacher', self.teacher_prefix, teacher)):
            if isinstance(shape, list) or len(shape) != 3 or not prefix:
                raise ValueError(f'Proteus needs tokens (N, 1 + L, D) with a class token of the {name}, not {shape}: take a '
                                 'ViT.')
        lengths = student[1] - self.student_prefix, teacher[1] - self.teacher_prefix
        if lengths[0] != lengths[1] and (self.weights['lambda_fea'] or self.weights['lambda_patch']):
            raise ValueError(f'Proteus compares patch by patch, but the student has {lengths[0]} and the teacher {lengths[1]} '
                             'patches: choose img_size and patch_size alike, or lambda_fea=lambda_patch=0.')
        self.heads = ProteusHeads(student[2], teacher[2])
        if not self.weights['lambda_fea']:
            self.heads.fea_head.requires_grad_(False)
        if not self.weights['lambda_patch']:
            self.heads.patch_head.requires_grad_(False)
            return
        embedding = getattr(shapes.student_net.module, 'patch_embed', None)
        if embedding is None:
            raise ValueError(f'{type(shapes.student_net.module).__name__} has no patch_embed whose output could be masked: '
                             'take a plain ViT of timm as the student, or lambda_patch=0.')
        # a tuple hides the student's module from parameters() and the state dict
        self._embedding = (embedding,)
        self.mask_token = nn.Parameter(torch.zeros(1, student[2]))

    def _masked_patches(self, run, images: Tensor, mask: Tensor) -> Tensor:
        def replace(module, inputs, output):
            # (N, L, D), or (N, h, w, D) where timm's ViT takes images of any size
            hidden = mask.view(*output.shape[:-1], 1)
            return torch.where(hidden, self.mask_token.to(output.dtype), output)

        handle = self._embedding[0].register_forward_hook(replace)
        try:
            return run(images, (self.student_tokens,))[self.student_tokens][:, self.student_prefix:]
        finally:
            handle.remove()

    def forward(self, student, teacher, batch, progress):
        own, theirs = student[self.student_tokens], teacher[self.teacher_tokens].detach()
        patches = theirs[:, self.teacher_prefix:]
        count, length = len(own), own.shape[1] - self.student_prefix
        masked = mask = None
        if self.weights['lambda_patch']:
            mask = proteus_mask(
                torch.rand(count, length, device=own.device), mask_probability=self.mask_probability,
                mask_ratio=self.mask_ratio, ratio_noise=torch.rand(count, device=own.device),
                order=None if self.mask_first_n else torch.randperm(count, device=own.device))
            if math.prod(mask.shape) and bool(mask.any()):
                masked = self._masked_patches(student.run, batch.images, mask)
        projected = self.heads(own[:, 0], own[:, self.student_prefix:] if self.weights['lambda_fea'] else None, masked)
        losses = proteus_loss(projected['token'], theirs[:, 0], projected.get('patch'), patches, projected.get('masked'), mask,
                              **self.weights)
        if self.weights['lambda_patch'] and 'patch' not in losses:
            # nothing is hidden in a batch this small; the term stays, so that every process reduces the same gradients
            losses['patch'] = 0.0 * sum(p.sum() for p in (self.mask_token, *self.heads.patch_head.parameters()))
        return losses
