"""Token-level relationship graph.

Zhang, Liu, He: Knowledge Distillation via Token-level Relationship Graph. 2023, arXiv:2306.12442.
No reference code: our reading of the paper, by a public summary that quotes its formulas. Our own choices are the L2
normalisation of the graph's tokens, that a token is not its own neighbour, the linear schedule of the temperature, and all
default numbers.
"""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.connectors import prefix_tokens
from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['TRG', 'trg_global_loss', 'trg_inner_loss', 'trg_local_loss', 'trg_loss', 'trg_temperature']


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _reduce(rows: Tensor, reduction: str) -> Tensor:
    if reduction not in ('mean', 'sum'):
        raise ValueError(f"reduction is 'mean' or 'sum', not {reduction!r}.")
    return rows.mean() if reduction == 'mean' else rows.sum()


def _adjacency(tokens: Tensor, k: int, sigma: float) -> Tensor:
    """``(M, M)``: ``exp(-d^2 / (2 sigma))`` to the k nearest other tokens, else 0."""
    tokens = F.normalize(_at_least_float32(tokens), dim=1, eps=1e-12)
    squared = (2 - 2 * tokens @ tokens.T).clamp(min=0)
    # stable, so that of equal distances the lower index is nearer
    order = squared.detach().fill_diagonal_(float('inf')).argsort(dim=1, stable=True)[:, :min(k, len(tokens) - 1)]
    neighbour = torch.zeros_like(squared, dtype=torch.bool).scatter_(1, order, True)
    return torch.where(neighbour, torch.exp(-squared / (2 * sigma)), torch.zeros_like(squared))


def trg_local_loss(student_tokens: Tensor, teacher_tokens: Tensor, *, k: int = 8, sigma: float = 1.0,
                   reduction: str = 'mean') -> Tensor:
    """KL of the neighbourhoods: rows of each network's own k-nearest-neighbour graph, the student's distribution first.

    Args:
        student_tokens, teacher_tokens: ``(M, Ds)`` and ``(M, Dt)``, token i of both from the same place; no gradient
            flows into the teacher's.
        k: neighbours of a token, at most ``M - 1``.
        sigma: an edge weighs ``exp(-d^2 / (2 sigma))``.
        reduction: ``'sum'`` (the printed formula) or ``'mean'`` over tokens.

    Raises:
        ValueError: for unequal numbers of tokens, or another reduction.
    """
    if len(student_tokens) != len(teacher_tokens):
        raise ValueError(f'trg_local_loss needs the same tokens of both networks, got {len(student_tokens)} and '
                         f'{len(teacher_tokens)}.')
    student = F.log_softmax(_adjacency(student_tokens, k, sigma), dim=1)
    teacher = F.log_softmax(_adjacency(teacher_tokens.detach(), k, sigma), dim=1)
    return _reduce((student.exp() * (student - teacher)).sum(1), reduction)


def trg_global_loss(student_tokens: Tensor, teacher_tokens: Tensor, *, temperature: float = 0.1,
                    reduction: str = 'mean') -> Tensor:
    """Each student token picks its own teacher token among all of them, by cosine.

    Args:
        student_tokens, teacher_tokens: ``(M, D)``; no gradient flows into the teacher's.
        temperature: the cosines are divided by it.
        reduction: ``'sum'`` or ``'mean'`` over tokens.

    Raises:
        ValueError: for unequal shapes, or another reduction.
    """
    if student_tokens.shape != teacher_tokens.shape:
        raise ValueError(f'trg_global_loss needs tokens of one shape, got {tuple(student_tokens.shape)} and '
                         f'{tuple(teacher_tokens.shape)}: project the student\'s first.')
    student = F.normalize(_at_least_float32(student_tokens), dim=1)
    teacher = F.normalize(_at_least_float32(teacher_tokens.detach()), dim=1)
    target = torch.arange(len(student), device=student.device)
    return _reduce(F.cross_entropy(student @ teacher.T / temperature, target, reduction='none'), reduction)


def _context(feat: Tensor) -> Tensor:
    feat = _at_least_float32(feat)
    return (feat @ feat.transpose(1, 2) / feat.shape[2]**0.5).softmax(2)


def trg_inner_loss(student_feat: Tensor, teacher_feat: Tensor) -> Tensor:
    """Mean squared difference of the relations among one image's tokens, ``softmax(F F^T / sqrt(D))``.

    Args:
        student_feat, teacher_feat: ``(N, L, Ds)`` and ``(N, L, Dt)``; no gradient flows into the teacher's.

    Raises:
        ValueError: if images or tokens differ in number.
    """
    if student_feat.shape[:2] != teacher_feat.shape[:2]:
        raise ValueError(f'trg_inner_loss needs as many tokens of both networks, got {tuple(student_feat.shape)} and '
                         f'{tuple(teacher_feat.shape)}.')
    return F.mse_loss(_context(student_feat), _context(teacher_feat.detach()))


def trg_loss(student_feat: Tensor, teacher_feat: Tensor, token_index: Tensor, *, k: int = 8, sigma: float = 1.0,
             temperature: float = 0.1, reduction: str = 'mean') -> dict[str, Tensor]:
    """The three parts, not weighted: ``local`` and ``global`` on chosen tokens of the batch, ``inner`` on all.

    Args:
        student_feat, teacher_feat: ``(N, L, D)`` of the teacher's width.
        token_index: ``(M,)`` int64, positions in the flattened ``N * L`` tokens.
        k, sigma, temperature, reduction: see the parts.
    """
    student, teacher = (feat.flatten(0, 1)[token_index] for feat in (student_feat, teacher_feat))
    return {'local': trg_local_loss(student, teacher, k=k, sigma=sigma, reduction=reduction),
            'global': trg_global_loss(student, teacher, temperature=temperature, reduction=reduction),
            'inner': trg_inner_loss(student_feat, teacher_feat)}


def trg_temperature(progress: float, *, start: float = 1.0, end: float = 0.1) -> float:
    """The temperature at a share ``progress`` in 0..1 of the run: linear from ``start`` to ``end``."""
    return start + (end - start) * progress


def _token_grid(x: Tensor, prefix: int, patch_size: int) -> Tensor:
    """Tokens ``(N, prefix + H * W, D)``, or a map cut into patches, as a grid ``(N, D, H, W)``."""
    if x.dim() == 3:
        x = x[:, prefix:].transpose(1, 2)
        side = int(x.shape[2]**0.5)
        return x.unflatten(2, (side, side))
    if patch_size == 1:
        return x
    grid = tuple(size // patch_size for size in x.shape[2:])
    return F.unfold(x, patch_size, stride=patch_size).unflatten(2, grid)


@DISTILLERS.register_module()
class TRG(Distiller):
    """TRG: a k-nearest-neighbour graph of the batch's tokens is kept (Zhang et al., 2023, arXiv:2306.12442).

    Put it beside ``KD``: the paper adds its parts to cross-entropy and KD. Of a transformer the patch tokens are read, of a
    CNN a map cut into patches; where the grids differ the finer one is average-pooled. The local part and the inner part see
    the student's own tokens, the global part their linear projection to the teacher's width.

    Args:
        inner_weight, local_weight, global_weight: of the parts. The local one is tiny (1e-4 and below): the softmax of a
            sparse graph's row is nearly uniform.
        k, sigma, reduction: see :func:`trg_local_loss`.
        start_temperature, end_temperature: see :func:`trg_temperature`.
        tokens_per_image: random tokens of each image in the graph; all where an image has fewer.
        student_layer, teacher_layer: taps of tokens ``(N, L, D)`` or of a map; for a CNN the paper takes ``stages.-2``.
        student_patch, teacher_patch: side in pixels of a map's patches.

    Raises:
        ValueError: for taps that are neither, patches larger than the map, or numbers out of range.
    """
    same_classes = False

    def __init__(self, inner_weight: float = 1.0, local_weight: float = 1.0, global_weight: float = 1.0, k: int = 8,
                 sigma: float = 1.0, start_temperature: float = 1.0, end_temperature: float = 0.1,
                 reduction: str = 'mean', tokens_per_image: int = 16, student_layer: str = 'tokens',
                 teacher_layer: str = 'tokens', student_patch: int = 1, teacher_patch: int = 1):
        super().__init__()
        if reduction not in ('mean', 'sum'):
            raise ValueError(f"TRG's reduction is 'mean' or 'sum', not {reduction!r}.")
        if min(k, tokens_per_image, student_patch, teacher_patch) < 1 or min(sigma, start_temperature, end_temperature) <= 0:
            raise ValueError('TRG needs k, tokens_per_image and patches of 1 or more, and sigma and temperatures above 0.')
        self.inner_weight, self.local_weight, self.global_weight = inner_weight, local_weight, global_weight
        self.k, self.sigma, self.reduction, self.tokens_per_image = k, sigma, reduction, tokens_per_image
        self.start_temperature, self.end_temperature = start_temperature, end_temperature
        self.student_layer, self.teacher_layer = student_layer, teacher_layer
        self.student_patch, self.teacher_patch = student_patch, teacher_patch
        self.needs = Needs(student=(student_layer,), teacher=(teacher_layer,))

    def build(self, shapes):
        sides = (('student', self.student_layer, shapes.student, shapes.student_net, self.student_patch),
                 ('teacher', self.teacher_layer, shapes.teacher, shapes.teacher_net, self.teacher_patch))
        grids, self.prefix = {}, {}
        for side, name, of_side, net, patch_size in sides:
            shape = of_side[name]
            if isinstance(shape, list) or len(shape) not in (3, 4):
                raise ValueError(f"TRG reads tokens (N, L, D) or a map (N, C, H, W), and the {side}'s {name!r} is neither: "
                                 'name tokens, or a stage such as stages.-2.')
            if len(shape) == 4 and patch_size > min(shape[2:]):
                raise ValueError(f'TRG cuts patches of {patch_size} pixels from {name!r}, a map of only {tuple(shape[2:])}.')
            prefix = 0
            if len(shape) == 3:
                prefix = getattr(net, 'num_prefix_tokens', 0) or prefix_tokens(shape[1])
                if prefix_tokens(shape[1] - prefix):
                    raise ValueError(f"TRG needs a square grid of patch tokens, and the {side}'s {name!r} has {shape[1]} "
                                     f'tokens with {prefix} in front of the patches: use square images.')
            self.prefix[side] = prefix
            grids[side] = _token_grid(torch.zeros(1, *shape[1:], device='cpu'), prefix, patch_size).shape
        self.grid = tuple(map(min, grids['student'][2:], grids['teacher'][2:]))
        self.projector = nn.Linear(grids['student'][1], grids['teacher'][1])

    def _tokens(self, x: Tensor, side: str, patch_size: int) -> Tensor:
        grid = _token_grid(x, self.prefix[side], patch_size)
        grid = grid if grid.shape[2:] == self.grid else F.adaptive_avg_pool2d(grid, self.grid)
        return grid.flatten(2).transpose(1, 2)

    def forward(self, student, teacher, batch, progress):
        student_feat = self._tokens(student[self.student_layer], 'student', self.student_patch)
        teacher_feat = self._tokens(teacher[self.teacher_layer], 'teacher', self.teacher_patch)
        count, length = student_feat.shape[:2]
        chosen = torch.rand(count, length, device=student_feat.device).argsort(1)[:, :self.tokens_per_image]
        index = (chosen + length * torch.arange(count, device=chosen.device)[:, None]).flatten()
        own, target = student_feat.flatten(0, 1)[index], teacher_feat.flatten(0, 1)[index]
        temperature = trg_temperature(progress.fraction, start=self.start_temperature, end=self.end_temperature)
        local = trg_local_loss(own, target, k=self.k, sigma=self.sigma, reduction=self.reduction)
        identity = trg_global_loss(self.projector(own), target, temperature=temperature, reduction=self.reduction)
        return {'inner': self.inner_weight * trg_inner_loss(student_feat, teacher_feat),
                'local': self.local_weight * local, 'global': self.global_weight * identity}
