"""One-for-all KD: teachers and students of different architectures.

Hao, Guo, Han, Tang, Hu, Wang, Xu: One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge
Distillation. NeurIPS 2023, arXiv:2310.19444.
Equal to Hao840/OFAKD@f7bb896 (distillers/ofa.py), where the paper and the code differ in the loss.
"""
import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.connectors import prefix_tokens
from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['OFAKD', 'OFAConvProjector', 'OFATokenProjector', 'ofa_loss']

STAGES = 4
#: where the stages of a network of equal blocks end, in twelfths of its depth: those of a Swin-T (2, 2, 6, 2)
ENDS = (2, 4, 10, 12)
HEADS = 4


def ofa_loss(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, eps: float = 1.0,
             temperature: float = 1.0) -> Tensor:
    """Cross-entropy to the teacher with an enhanced target: ``mean_n sum_k -((p + m)^eps - m) log q``.

    p and q are the teacher's and the student's tempered probabilities, m is 1 at the label and else 0. With ``eps=1`` it
    is the cross-entropy to p. There is no factor ``T^2``.

    Args:
        student_logits, teacher_logits: ``(N, K)``; no gradient flows into the teacher's.
        labels: ``(N,)`` int64, or soft ``(N, K)``, whose arg-max is taken.
        eps: exponent, 1 to 1.5 in the paper.
        temperature: T, of both.
    """
    dtype = torch.promote_types(student_logits.dtype, torch.float32)
    target = labels if labels.dim() == 1 else labels.argmax(1)
    mask = F.one_hot(target, student_logits.shape[1]).to(dtype)
    teacher = F.softmax(teacher_logits.detach().to(dtype) / temperature, dim=1)
    weight = (teacher + mask)**eps - mask
    return -(weight * F.log_softmax(student_logits.to(dtype) / temperature, dim=1)).sum(1).mean()


def _initialise(projector: nn.Module) -> None:
    for module in projector.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
        elif isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class SepConv(nn.Module):
    """Two depthwise separable convolutions, the first of stride 2: ``(N, C, H, W)`` to ``(N, out, H/2, W/2)``."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()

        def depthwise(stride):
            return nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels, bias=False)
        self.op = nn.Sequential(
            depthwise(2), nn.Conv2d(in_channels, in_channels, 1, bias=False), nn.BatchNorm2d(in_channels), nn.ReLU(),
            depthwise(1), nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class OFAConvProjector(nn.Sequential):
    """The exit of a CNN's stage: halvings up to the last stage's size, pooling, a classifier.

    Args:
        stage: 1 to 4; stage 4 has one 1x1 convolution in place of halvings.
        in_channels: of the stage's map.
        hidden_dim: width before the classifier; the larger of both networks' pooled widths in the paper.
        num_classes: K.

    Raises:
        ValueError: for another stage.
    """

    def __init__(self, stage: int, in_channels: int, hidden_dim: int, num_classes: int):
        if not 1 <= stage <= STAGES:
            raise ValueError(f'OFA-KD has stages 1 to {STAGES}, not {stage}.')
        if stage == STAGES:
            blocks: list[nn.Module] = [nn.Conv2d(in_channels, hidden_dim, 1)]
        else:
            widths = [in_channels * 2**i for i in range(STAGES - stage)] + [hidden_dim]
            blocks = [SepConv(*pair) for pair in zip(widths, widths[1:])]
        super().__init__(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(hidden_dim, num_classes))
        _initialise(self)

    def forward(self, student_feat: Tensor) -> Tensor:
        """``(N, C, H, W)`` to logits ``(N, K)``."""
        return super().forward(student_feat)


class PatchMerger(nn.Module):
    """Each 2x2 tokens of a square grid become one: ``(N, L, D)`` to ``(N, L/4, out)``; odd grids are padded with zeros."""

    def __init__(self, dim: int, out_dim: int, activation: bool):
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, out_dim, bias=False)
        self.act = nn.GELU() if activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        side = math.isqrt(x.shape[1])
        x = x.unflatten(1, (side, side))
        if side % 2:
            x = F.pad(x, (0, 0, 0, 1, 0, 1))
        x = torch.cat([x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)], dim=3)
        return self.act(self.reduction(self.norm(x.flatten(1, 2))))


class PatchTokens(nn.Module):
    """Applies ``fn`` to the tokens behind the first ``num_prefix_tokens``."""

    def __init__(self, fn: nn.Module, num_prefix_tokens: int):
        super().__init__()
        self.fn, self.num_prefix_tokens = fn, num_prefix_tokens

    def forward(self, x: Tensor) -> Tensor:
        prefix, x = x[:, :self.num_prefix_tokens], self.fn(x[:, self.num_prefix_tokens:])
        return torch.cat([prefix, x], dim=1) if self.num_prefix_tokens else x


class Readout(nn.Module):
    """The prefix tokens flattened, or the mean of all where there are none: ``(N, L, D)`` to ``(N, D')``."""

    def __init__(self, num_prefix_tokens: int):
        super().__init__()
        self.num_prefix_tokens = num_prefix_tokens

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :self.num_prefix_tokens].flatten(1) if self.num_prefix_tokens else x.mean(1)


class OFATokenProjector(nn.Sequential):
    """The exit of a transformer's or MLP's stage: patch mergers down to about 7x7, transformer blocks, a classifier.

    Args:
        stage: 1 to 4; ``max(4 - stage, 1)`` blocks.
        num_tokens: L, prefix tokens included.
        embed_dim: width of the stage's tokens.
        feature_dim: width of the blocks, a multiple of 4; the student's pooled width in the paper.
        num_classes: K.
        num_prefix_tokens: class, distillation and register tokens in front. With several of them the classifier reads all
            (the paper's students have at most one).

    Where the grid is too small for a merger and the widths differ (a Swin on small images, which the reference code cannot
    run), one linear layer changes the width.

    Raises:
        ValueError: for another stage, widths that do not fit, or a grid to be merged that is not square.
    """

    def __init__(self, stage: int, num_tokens: int, embed_dim: int, feature_dim: int, num_classes: int,
                 num_prefix_tokens: int = 0):
        from timm.models.vision_transformer import Block
        if not 1 <= stage <= STAGES:
            raise ValueError(f'OFA-KD has stages 1 to {STAGES}, not {stage}.')
        if feature_dim % HEADS:
            raise ValueError(f'The exits of OFA-KD have {HEADS} attention heads, and {feature_dim} channels are no multiple '
                             'of them.')
        if num_prefix_tokens and embed_dim != feature_dim:
            raise ValueError(f'Prefix tokens of {embed_dim} channels do not fit blocks of {feature_dim}: they must be equal.')
        count = max(int(math.log2(math.isqrt(num_tokens) / 7)), 0)
        patches = num_tokens - num_prefix_tokens
        if count and math.isqrt(patches)**2 != patches:
            raise ValueError(f'OFA-KD merges the tokens of a square grid, and {num_tokens} tokens of which '
                             f'{num_prefix_tokens} come before the patches are none: use square images.')
        mergers: list[nn.Module] = [
            PatchMerger(feature_dim if i else embed_dim, feature_dim, activation=i == 0 or i < count - 1)
            for i in range(count)]
        if not mergers and embed_dim != feature_dim:
            mergers.append(nn.Linear(embed_dim, feature_dim, bias=False))
        norm = partial(nn.LayerNorm, eps=1e-5)
        blocks = [Block(feature_dim, HEADS, mlp_ratio=4.0, qkv_bias=False, norm_layer=norm)
                  for _ in range(max(STAGES - stage, 1))]
        super().__init__(PatchTokens(nn.Sequential(*mergers), num_prefix_tokens), nn.Sequential(*blocks),
                         Readout(num_prefix_tokens), nn.Linear(max(num_prefix_tokens, 1) * feature_dim, num_classes))
        _initialise(self)

    def forward(self, student_feat: Tensor) -> Tensor:
        """``(N, L, D)`` to logits ``(N, K)``."""
        return super().forward(student_feat)


def _stage_ends(depth: int) -> list[int]:
    """0-based blocks at which four stages of a network of ``depth`` equal blocks end; all blocks where there are fewer."""
    ends = [round(depth * twelfths / ENDS[-1]) for twelfths in ENDS]
    for i in range(STAGES):
        ends[i] = max(ends[i], ends[i - 1] + 1 if i else 1)
    for i in reversed(range(STAGES)):
        ends[i] = min(ends[i], ends[i + 1] - 1 if i + 1 < STAGES else depth)
    return [end - 1 for end in ends if end > 0]


def _block_paths(network: nn.Module) -> list[str]:
    """Module paths of a network's equal blocks: the longest list of modules of one class; empty where there is none."""
    best: list[str] = []
    for path, module in network.named_modules():
        if isinstance(module, (nn.Sequential, nn.ModuleList)) and path:
            children = dict(module.named_children())
            if len({type(child) for child in children.values()}) == 1 and len(children) > max(len(best), 1):
                best = [f'{path}.{name}' for name in children]
    return best


@DISTILLERS.register_module()
class OFAKD(Distiller):
    """OFAKD: exits of four stages match the teacher's logits, any pair (Hao et al., NeurIPS 2023, arXiv:2310.19444).

    The stages are found from the student: ``stages`` of a network whose resolution falls (the last one behind a further
    convolution, as MobileNetV2 has, where ``final_map`` says so), or blocks 2, 4, 10, 12 of twelve (in proportion) where
    all are alike, with their class tokens. A student with fewer than four has the last ones; of more, the last four count.
    Stages of tokens or ``(N, H, W, C)`` get :class:`OFATokenProjector`, maps get :class:`OFAConvProjector`. A batch of
    one image goes through the projectors' BatchNorms with their running statistics.

    Args:
        eps: exponent of :func:`ofa_loss`, one number, or one for each stage and, last, the head.
        temperature: of both networks.
        kd_weight: of the student's own head.
        ofa_weight: of the sum over the exits.
        stages: ``'auto'``, or up to four taps, shallow first, or one tap that is a list (the paper reads MobileNetV1 before
            the ReLU, ``preact_stages``).
        projector: ``'auto'``, ``'conv'`` or ``'token'``.

    Raises:
        ValueError: where no stage is found, ``eps`` has another length, or a tap does not fit its projector.
    """

    def __init__(self, eps: float | Sequence[float] = 1.0, temperature: float = 1.0, kd_weight: float = 1.0,
                 ofa_weight: float = 1.0, stages: str | Sequence[str] = 'auto', projector: str = 'auto'):
        super().__init__()
        if projector not in ('auto', 'conv', 'token'):
            raise ValueError(f"OFAKD's projector is 'auto', 'conv' or 'token', not {projector!r}.")
        if temperature <= 0:
            raise ValueError(f'OFAKD needs a temperature above 0, not {temperature}.')
        if not isinstance(stages, str) and not 1 <= len(stages) <= STAGES:
            raise ValueError(f'OFAKD has 1 to {STAGES} stages, not {len(stages)}.')
        self.eps, self.temperature = eps, temperature
        self.kd_weight, self.ofa_weight = kd_weight, ofa_weight
        self.kind = projector
        self.automatic = stages == 'auto'
        self.map_shapes: list[torch.Size] = []
        self.stage_taps = () if self.automatic else (stages,) if isinstance(stages, str) else tuple(stages)
        self._read(*(('pooled', 'stages', 'final_map', 'tokens') if self.automatic else ('pooled', *self.stage_taps)))

    def _read(self, *taps: str) -> None:
        self.needs = Needs(student=('logits', *taps), teacher=('logits',), labels=True)

    def adapt_student(self, student, teacher, shapes):
        found = shapes.student
        if 'pooled' not in found:
            raise ValueError(f'OFAKD needs the width of {type(student).__name__} before its classifier, and finds no tap '
                             "'pooled'.")
        if self.automatic:
            stages = self.map_shapes = list(found.get('stages', []))
            alike = len(stages) < 2 or all(shape[2:] == stages[0][2:] for shape in stages)
            if self.kind == 'auto':
                tokens = ('tokens' in found or getattr(student, 'output_fmt', 'NCHW') == 'NHWC'
                          or bool(getattr(student, 'channels_last_stages', ())))
                self.kind = 'token' if tokens else 'conv'
            blocks = _block_paths(student) if self.kind == 'token' and alike else []
            self.stage_taps = tuple(blocks[end] for end in _stage_ends(len(blocks)))
            if not blocks and not stages:
                raise ValueError(f'OFAKD finds no stages in {type(student).__name__}: name them by stages=[...], taps or '
                                 'module paths, shallow first.')
            maps = ('stages',) if stages else ()
            if self.kind == 'conv' and len(found.get('final_map', ())) == 4:
                maps += ('final_map',)
            self._read('pooled', *maps, *self.stage_taps)
        elif self.kind == 'auto':
            taps = [found[name] for name in self.stage_taps if name in found]
            self.kind = 'token' if any(not isinstance(shape, list) and len(shape) == 3 for shape in taps) else 'conv'
        return student

    def _automatic_taps(self, shapes) -> list[tuple[str, tuple[int, ...]]]:
        """Taps of the stages with their shapes, shallow first."""
        blocks = [(name, shapes.student[name]) for name in self.stage_taps]
        if blocks and all(not isinstance(shape, list) and len(shape) == 3 for _, shape in blocks):
            return blocks
        maps = list(shapes.student.get('stages', []))
        taps = [(f'stages.{index - len(maps)}', shape) for index, shape in enumerate(maps)]
        final = shapes.student.get('final_map')
        if taps and final is not None and final[2:] == maps[-1][2:] and final[1] != maps[-1][1]:
            taps[-1] = ('final_map', final)
        if not taps:
            raise ValueError('OFAKD finds stages whose outputs are neither maps nor tokens: name taps by stages=[...].')
        return taps

    def _named_taps(self, shapes) -> list[tuple[str, tuple[int, ...]]]:
        taps = []
        for name in self.stage_taps:
            shape = shapes.student[name]
            taps += ([(f'{name}.{index - len(shape)}', each) for index, each in enumerate(shape)]
                     if isinstance(shape, list) else [(name, shape)])
        for name, shape in taps:
            if len(shape) == 4 and shape[1] == shape[2] != shape[3]:
                raise ValueError(f'OFAKD takes maps (N, C, H, W), and {name!r} gives {tuple(shape)}, channels last: name '
                                 'stages.0, stages.1 ..., which are maps.')
        return taps

    def build(self, shapes):
        width, num_classes = shapes.student['pooled'][1], shapes.student['logits'][1]
        taps = (self._automatic_taps if self.automatic else self._named_taps)(shapes)[-STAGES:]
        hidden = max(width, self._teacher_width(shapes.teacher_net))
        self.projectors = nn.ModuleList()
        for stage, (name, shape) in enumerate(taps, start=STAGES + 1 - len(taps)):
            if len(shape) not in ((4,) if self.kind == 'conv' else (3, 4)):
                takes = 'a map (N, C, H, W)' if self.kind == 'conv' else 'tokens (N, L, D) or a map'
                raise ValueError(f'OFAKD puts a {self.kind} projector on {name!r}, whose shape is {tuple(shape)}: it takes '
                                 f'{takes}.')
            if self.kind == 'conv':
                self.projectors.append(OFAConvProjector(stage, shape[1], hidden, num_classes))
                continue
            length, dim, prefix = shape[1], shape[-1], 0
            if len(shape) == 4:
                length, dim = shape[2] * shape[3], shape[1]
                if shape[2] != shape[3] and length >= 14**2:
                    raise ValueError(f'OFAKD merges the tokens of a square grid, and {name!r} has {shape[2]}x{shape[3]}: use '
                                     'square images.')
            else:
                prefix = self._prefix(length, shapes.student_net)
            feature_dim = dim if prefix else width
            self.projectors.append(OFATokenProjector(stage, length, dim, feature_dim, num_classes, prefix))
        self.stage_taps = tuple(name for name, _ in taps)
        self.stage_eps = [self.eps] * (len(taps) + 1) if isinstance(self.eps, (int, float)) else list(self.eps)
        if len(self.stage_eps) != len(taps) + 1:
            raise ValueError(f'OFAKD needs one eps, or {len(taps) + 1} for {len(taps)} stages ({", ".join(self.stage_taps)}) '
                             f'and the head, not {len(self.stage_eps)}.')
        # what was read for its shape alone is not computed any more
        self._read(*self.stage_taps)

    def _prefix(self, length: int, reader) -> int:
        """How many of a block's tokens come before the patches: what the maps of the same network lack."""
        maps = self.map_shapes
        if maps and length >= maps[-1][2] * maps[-1][3]:
            return length - maps[-1][2] * maps[-1][3]
        stated = getattr(reader, 'num_prefix_tokens', 0)
        return stated if stated and math.isqrt(length - stated)**2 == length - stated else prefix_tokens(length)

    @staticmethod
    def _teacher_width(reader) -> int:
        """The teacher's pooled width; 0 where it has no linear classifier."""
        try:
            return getattr(reader.classifier, 'in_features', 0)
        except (AttributeError, ValueError):
            return 0

    def _exit(self, projector: nn.Module, feat: Tensor) -> Tensor:
        if self.kind == 'token':
            return projector(feat.flatten(2).transpose(1, 2) if feat.dim() == 4 else feat)
        if len(feat) > 1 or not self.training:
            return projector(feat)
        projector.eval()
        try:
            return projector(feat)
        finally:
            projector.train()

    def forward(self, student, teacher, batch, progress):
        def loss(logits, eps):
            return ofa_loss(logits, teacher['logits'], batch.labels, eps=eps, temperature=self.temperature)
        exits = [loss(self._exit(projector, student[name]), eps)
                 for projector, name, eps in zip(self.projectors, self.stage_taps, self.stage_eps)]
        return dict(head=self.kd_weight * loss(student['logits'], self.stage_eps[-1]), stages=self.ofa_weight * sum(exits))
