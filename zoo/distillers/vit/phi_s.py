"""PHI-S and the losses of agglomerative distillation from several foundation models.

Ranzinger, Barker, Heinrich, Molchanov, Catanzaro, Tao: PHI-S: Distribution Balancing for Label-Free Multi-Teacher
Distillation. ICLR 2025, arXiv:2410.01680. Ranzinger, Heinrich, Kautz, Molchanov: AM-RADIO: Agglomerative Vision Foundation
Model -- Reduce All Domains Into One. CVPR 2024, arXiv:2312.06709.
Reference code: NVlabs/RADIO@c0f3701 for the standardisation (examples/common/hadamard.py, phi_s.py,
radio/feature_normalizer.py); its training code is not public, so the losses are our reading of the papers.
"""
import hashlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models import MLP2, build_network
from zoo.registry import DISTILLERS
from zoo.taps import TapReader

from ..base import Distiller, Needs

__all__ = ['PHIS', 'hadamard_matrix', 'phi_s_apply', 'phi_s_fit', 'phi_s_invert', 'phi_s_matrix', 'radio_spatial_loss',
           'radio_summary_loss']


# ---- standardisation

def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


def _jacobsthal(prime: int) -> Tensor:
    """``Q[i, j]``: 1 where ``i - j`` is a non-zero square modulo the prime, 0 on the diagonal, else -1."""
    squares = {i * i % prime for i in range(1, prime)}
    character = torch.tensor([0] + [1 if i in squares else -1 for i in range(1, prime)], dtype=torch.float64)
    places = torch.arange(prime)
    return character[(places[:, None] - places) % prime]


def _paley_first(prime: int) -> Tensor:
    """Signs of a Hadamard matrix of size ``prime + 1``, for a prime that is 3 modulo 4."""
    skew = torch.zeros(prime + 1, prime + 1, dtype=torch.float64)
    skew[0, 1:], skew[1:, 0], skew[1:, 1:] = 1, -1, _jacobsthal(prime)
    return torch.eye(prime + 1, dtype=torch.float64) + skew


def _paley_second(prime: int) -> Tensor:
    """Signs of a Hadamard matrix of size ``2 * (prime + 1)``, for a prime that is 1 modulo 4."""
    conference = torch.zeros(prime + 1, prime + 1, dtype=torch.float64)
    conference[0, 1:], conference[1:, 0], conference[1:, 1:] = 1, 1, _jacobsthal(prime)
    one = torch.tensor([[1, 1], [1, -1]], dtype=torch.float64)
    zero = torch.tensor([[1, -1], [-1, -1]], dtype=torch.float64)
    return torch.kron(conference, one) + torch.kron(torch.eye(prime + 1, dtype=torch.float64), zero)


def _sylvester(size: int) -> Tensor:
    signs = torch.ones(1, 1, dtype=torch.float64)
    while len(signs) < size:
        signs = torch.cat([torch.cat([signs, signs], 1), torch.cat([signs, -signs], 1)])
    return signs


def hadamard_matrix(*, dim: int) -> Tensor:
    """An orthogonal ``(dim, dim)`` float64 whose entries are all ``+-1 / sqrt(dim)``.

    By Sylvester's doubling where ``dim`` is a power of two, else of the two constructions of Paley, doubled.

    Raises:
        ValueError: where ``dim`` has none by these constructions (it must be 1, 2 or a multiple of 4, and not, for
            instance, 52, 92 or 100). The authors fall back to a random rotation there, which does not balance variances.
    """
    if dim < 1 or (dim > 2 and dim % 4):
        raise ValueError(f'There is no Hadamard matrix of size {dim}: it must be 1, 2 or a multiple of 4.')
    odd = dim
    while odd % 2 == 0:
        odd //= 2
    if odd == 1:
        return _sylvester(dim) / math.sqrt(dim)
    size = dim // odd // 2
    while size:
        rest = dim // size
        if _is_prime(rest - 1) and (rest - 1) % 4 == 3:
            return torch.kron(_sylvester(size), _paley_first(rest - 1)) / math.sqrt(dim)
        if rest % 2 == 0 and _is_prime(rest // 2 - 1) and (rest // 2 - 1) % 4 == 1:
            return torch.kron(_sylvester(size), _paley_second(rest // 2 - 1)) / math.sqrt(dim)
        size //= 2
    raise ValueError(f'The constructions of Sylvester and Paley give no Hadamard matrix of size {dim}.')


def phi_s_matrix(eigenvalues: Tensor, eigenvectors: Tensor) -> Tensor:
    """``H U^T / sqrt(mean eigenvalue)``: rotates features so that all channels have variance 1.

    Args:
        eigenvalues: ``(C,)`` of the covariance, none negative.
        eigenvectors: ``(C, C)``, in columns.

    Raises:
        ValueError: if all eigenvalues are 0, or C has no Hadamard matrix.
    """
    scale = eigenvalues.mean().sqrt()
    if not scale > 0:
        raise ValueError('PHI-S: the features do not vary, so that they cannot be standardised.')
    return hadamard_matrix(dim=len(eigenvalues)).to(eigenvectors) @ eigenvectors.T / scale


def _fit_covariance(mean: Tensor, covariance: Tensor) -> dict[str, Tensor]:
    eigenvalues, eigenvectors = torch.linalg.eigh(covariance)
    eigenvalues = eigenvalues.clamp(min=0)
    return dict(mean=mean, matrix=phi_s_matrix(eigenvalues, eigenvectors), scale=eigenvalues.mean().rsqrt())


def phi_s_fit(features: Tensor) -> dict[str, Tensor]:
    """Mean ``(C,)``, matrix ``(C, C)`` and scale ``()`` of a sample ``(N, C)``, in float64.

    Signs and order of eigenvectors are free, so that the matrix of another machine may differ: keep it with the model.

    Raises:
        ValueError: for fewer than two rows, features that do not vary, or a C without Hadamard matrix.
    """
    if features.dim() != 2 or len(features) < 2:
        raise ValueError(f'phi_s_fit needs features (N, C) with N above 1, not {tuple(features.shape)}.')
    features = features.double()
    return _fit_covariance(features.mean(0), torch.cov(features.T).reshape(features.shape[1], features.shape[1]))


def phi_s_apply(x: Tensor, mean: Tensor, matrix: Tensor) -> Tensor:
    """Standardise ``(N, C)``, ``(N, L, C)`` or ``(N, C, H, W)``: ``(x - mean) matrix^T`` along the channels."""
    if x.dim() == 4:
        return ((x.movedim(1, -1) - mean) @ matrix.T).movedim(-1, 1)
    return (x - mean) @ matrix.T


def phi_s_invert(x: Tensor, mean: Tensor, matrix: Tensor) -> Tensor:
    """The reverse of :func:`phi_s_apply`."""
    back = len(matrix) / matrix.square().sum() * matrix
    if x.dim() == 4:
        return (x.movedim(1, -1) @ back + mean).movedim(-1, 1)
    return x @ back + mean


# ---- losses

def _pair(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    if student.shape != teacher.shape:
        raise ValueError(f'Predicted and target features need one shape, got {tuple(student.shape)} and '
                         f'{tuple(teacher.shape)}.')
    student = student.to(torch.promote_types(student.dtype, torch.float32))
    return student, teacher.detach().to(student.dtype)


def radio_summary_loss(student_feat: Tensor, teacher_feat: Tensor) -> Tensor:
    """``mean(1 - cosine)`` along the last axis of ``(N, D)``."""
    return (1 - F.cosine_similarity(*_pair(student_feat, teacher_feat), dim=-1, eps=1e-8)).mean()


def radio_spatial_loss(student_feat: Tensor, teacher_feat: Tensor, *, mode: str = 'cos_smooth_l1', alpha: float = 0.9,
                       beta: float = 0.1) -> Tensor:
    """The loss of the patches ``(N, L, D)``.

    Args:
        mode: ``'cos_smooth_l1'`` (AM-RADIO): ``alpha * mean(1 - cosine) + beta * smooth L1``; ``'mse'`` (PHI-S), for
            standardised targets: the mean squared error.
        alpha, beta: weights of the first form.

    Raises:
        ValueError: for another mode or unequal shapes.
    """
    student, teacher = _pair(student_feat, teacher_feat)
    if mode == 'mse':
        return F.mse_loss(student, teacher)
    if mode == 'cos_smooth_l1':
        return alpha * radio_summary_loss(student, teacher) + beta * F.smooth_l1_loss(student, teacher)
    raise ValueError(f"mode is 'mse' or 'cos_smooth_l1', not {mode!r}.")


# ---- the distiller

class _Moments:
    """Mean and covariance of rows that come in parts, merged in float64 (Chan, Golub, LeVeque 1979)."""

    def __init__(self):
        self.count, self.mean, self.scatter = 0, 0.0, 0.0

    def add(self, rows: Tensor) -> None:
        rows = rows.double()
        own = rows.mean(0)
        centred, delta, total = rows - own, own - self.mean, self.count + len(rows)
        self.scatter = self.scatter + centred.T @ centred + torch.outer(delta, delta) * (self.count * len(rows) / total)
        self.mean = self.mean + delta * (len(rows) / total)
        self.count = total

    def fit(self) -> dict[str, Tensor]:
        if self.count < 2:
            raise ValueError('PHI-S standardises by the training set, which gives fewer than two feature vectors.')
        return _fit_covariance(self.mean, self.scatter / (self.count - 1))


def _as_map(x: Tensor, prefix: int, whose: str) -> Tensor:
    """Tokens ``(N, P + L, D)`` of a square grid, or a map, as ``(N, D, h, w)``."""
    if x.dim() == 4:
        return x
    side = math.isqrt(x.shape[1] - prefix) if x.dim() == 3 else 0
    if x.dim() != 3 or side * side != x.shape[1] - prefix:
        raise ValueError(f'PHI-S: the spatial feature of {whose} is a map (N, C, H, W) or the tokens of a square grid, not '
                         f'{tuple(x.shape)}.')
    return x[:, prefix:].transpose(1, 2).unflatten(2, (side, side))


def _tokens(x: Tensor, size: tuple[int, int]) -> Tensor:
    """A map ``(N, D, h, w)`` as tokens ``(N, L, D)`` of a grid of this size."""
    if tuple(x.shape[2:]) != tuple(size):
        x = F.interpolate(x, size=size, mode='bilinear', align_corners=False)
    return x.flatten(2).transpose(1, 2)


class _FurtherTeacher:
    """A frozen network beside the run's own teacher, with its taps and its input."""

    def __init__(self, cfg: dict, shapes):
        cfg = dict(cfg)
        wanted = cfg.pop('input', 'own' if cfg.get('pretrained') else None)
        if not cfg.pop('untrained', False) and not any(cfg.get(key) for key in ('checkpoint', 'pretrained', 'weights')):
            warnings.warn(f'PHI-S: the teacher {cfg.get("type")} has random weights: give its checkpoint or pretrained=True.',
                          stacklevel=4)
        self.network = build_network(cfg, num_classes=shapes.num_classes).eval().requires_grad_(False)
        self.adapter = None if wanted is None else shapes.adapt_input(self.network, wanted)
        self.example = torch.zeros(1, *shapes.image_shape)
        self.reader = TapReader(self.network, self.example, self.adapter)
        self.input = wanted

    def __call__(self, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        with torch.no_grad():
            taps = self.reader(images, names)
            return {name: taps[name] for name in names}

    def digest(self) -> str:
        """A hash of the weights and the input, for the cache of the statistics."""
        digest = hashlib.sha256(repr(self.input).encode())
        for key, value in self.network.state_dict().items():
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


@DISTILLERS.register_module()
class PHIS(Distiller):
    """PHI-S: learn several foundation models at once, standardised alike (Ranzinger et al., ICLR 2025, arXiv:2410.01680).

    ``model.teacher`` is the first teacher and ``teachers`` are the others. Each has one head (:class:`zoo.models.MLP2`) for
    its summary and one for its spatial feature. A pass over the training set gives mean and covariance of each feature;
    they are part of the state dict. The student's heads predict standardised features: :meth:`teacher_like` inverts them.
    Where grids differ, the larger is resized to the smaller one (bilinear). No labels are used: set ``task.loss_weight=0``.

    Args:
        teachers: configs of further networks, each with what :func:`zoo.models.build_network` takes and optionally
            ``summary_tap`` and ``spatial_tap`` (below; None leaves that feature out), ``summary_weight``,
            ``spatial_weight``, and ``input`` as for ``model.teacher`` (its own normalisation and size).
        summary_tap, spatial_tap: the first teacher's features: a vector ``(N, D)``, and a map or tokens; None leaves one out.
        summary_weight, spatial_weight: of each teacher that does not say otherwise.
        student_summary, student_spatial: taps of the student.
        mode: of :func:`radio_spatial_loss`; ``'mse'`` is PHI-S's, ``'cos_smooth_l1'`` AM-RADIO's.
        standardize: ``'spatial'``, ``'both'`` (spatial and summary features) or None (AM-RADIO).
        hidden_dim, num_blocks: of the heads (no verified defaults); None for a hidden width like the student's feature.
    """

    def __init__(self, teachers: Sequence[dict] = (), summary_tap: str | None = 'pooled', spatial_tap: str | None = 'tokens',
                 summary_weight: float = 1.0, spatial_weight: float = 1.0, student_summary: str = 'pooled',
                 student_spatial: str = 'tokens', mode: str = 'mse', standardize: str | None = 'both',
                 hidden_dim: int | None = None, num_blocks: int = 1):
        super().__init__()
        if mode not in ('mse', 'cos_smooth_l1') or standardize not in ('spatial', 'both', None):
            raise ValueError("PHIS takes mode='mse' or 'cos_smooth_l1' and standardize='spatial', 'both' or None, not "
                             f'{mode!r} and {standardize!r}.')
        self.mode, self.standardize = mode, standardize
        self.hidden_dim, self.num_blocks = hidden_dim, num_blocks
        self.student_taps = dict(summary=student_summary, spatial=student_spatial)
        common = dict(summary_tap=summary_tap, spatial_tap=spatial_tap, summary_weight=summary_weight,
                      spatial_weight=spatial_weight)
        self.sources = [common]
        self._configs = []
        for cfg in teachers:
            cfg = dict(cfg)
            self.sources.append({key: cfg.pop(key, default) for key, default in common.items()})
            self._configs.append(cfg)
        # plain lists of objects that are no modules: in no parameters(), train() or state dict
        self._further: list[_FurtherTeacher] = []
        self._pairs = [(number, kind) for number, source in enumerate(self.sources) for kind in ('summary', 'spatial')
                       if source[f'{kind}_tap'] is not None and source[f'{kind}_weight']]
        if not self._pairs:
            raise ValueError('PHIS has nothing to compare: all taps are None or all weights 0.')
        kinds = [kind for kind in self.student_taps if any(kind == k for _, k in self._pairs)]
        self.needs = Needs(student=tuple(dict.fromkeys(self.student_taps[kind] for kind in kinds)), teacher=self._taps(0))

    def _taps(self, number: int) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.sources[n][f'{kind}_tap'] for n, kind in self._pairs if n == number))

    def build(self, shapes):
        self._further = [_FurtherTeacher(cfg, shapes) for cfg in self._configs]
        found = [shapes.teacher, *(teacher.reader.shapes(self._taps(number), teacher.example)
                                   for number, teacher in enumerate(self._further, start=1))]
        nets = [shapes.teacher_net, *(teacher.reader for teacher in self._further)]
        self._prefixes = [net.num_prefix_tokens for net in nets]
        self._student_prefix = shapes.student_net.num_prefix_tokens
        self.heads = nn.ModuleDict()
        for number, kind in self._pairs:
            own = self._feature(_empty(shapes.student, self.student_taps[kind]), kind, self._student_prefix, 'the student')
            theirs = self._feature(_empty(found[number], self.sources[number][f'{kind}_tap']), kind, self._prefixes[number],
                                   f'teacher {number}')
            key, width = f'{kind}{number}', theirs.shape[1]
            self.heads[key] = MLP2(own.shape[1], self.hidden_dim or own.shape[1], width, num_blocks=self.num_blocks)
            if self._standardized(kind):
                try:
                    hadamard_matrix(dim=width)
                except ValueError as error:
                    raise ValueError(f'PHI-S cannot standardise the {kind} feature of teacher {number}: {error} Take another '
                                     'tap, or standardize=None.') from None
                self.register_buffer(f'{key}_mean', torch.zeros(width))
                self.register_buffer(f'{key}_matrix', torch.eye(width))

    def _standardized(self, kind: str) -> bool:
        return self.standardize == 'both' or self.standardize == kind

    @staticmethod
    def _feature(x: Tensor, kind: str, prefix: int, whose: str) -> Tensor:
        """``(N, D)`` or ``(N, D, h, w)``."""
        if kind == 'spatial':
            return _as_map(x, prefix, whose)
        if x.dim() != 2:
            raise ValueError(f'PHI-S: the summary feature of {whose} is a vector (N, D), not {tuple(x.shape)}: name a tap such '
                             'as pooled.')
        return x

    def _apply(self, fn: Callable, recurse: bool = True):
        for teacher in self._further:
            teacher.network._apply(fn, recurse)
            if teacher.adapter is not None:
                teacher.adapter._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def _targets(self, taps, images: Tensor) -> Iterator[tuple[str, int, str, Tensor]]:
        """``(key, teacher, kind, feature)`` of all teachers, not standardised."""
        values = [taps, *(teacher(images, self._taps(number)) for number, teacher in enumerate(self._further, start=1))]
        for number, kind in self._pairs:
            value = values[number][self.sources[number][f'{kind}_tap']]
            yield f'{kind}{number}', number, kind, self._feature(value, kind, self._prefixes[number], f'teacher {number}')

    def prepare(self, training_set):
        if self.standardize is None:
            return
        own = repr((self.sources, self._pairs, self.standardize)) + ''.join(teacher.digest() for teacher in self._further)
        key = f'phi_s.{hashlib.sha256(own.encode()).hexdigest()}'
        for name, value in training_set.cached(key, lambda: self._statistics(training_set)).items():
            getattr(self, name).copy_(value)

    def _statistics(self, training_set) -> dict[str, Tensor]:
        moments: dict[str, _Moments] = {}
        for taps, batch in training_set.teacher_outputs(self._taps(0)):
            for key, _, kind, feature in self._targets(taps, batch.images):
                if self._standardized(kind):
                    rows = feature if feature.dim() == 2 else feature.movedim(1, -1).flatten(0, 2)
                    moments.setdefault(key, _Moments()).add(rows.detach().cpu())
        values = {}
        for key, moment in moments.items():
            fitted = moment.fit()
            values.update({f'{key}_mean': fitted['mean'].float(), f'{key}_matrix': fitted['matrix'].float()})
        return values

    def teacher_like(self, predicted: Tensor, kind: str, number: int = 0) -> Tensor:
        """What a head predicts, in the scale of its teacher's features.

        Args:
            predicted: the head's output, ``(N, D)``, ``(N, L, D)`` or ``(N, D, h, w)``.
            kind: ``'summary'`` or ``'spatial'``.
            number: of the teacher; 0 is ``model.teacher``.
        """
        if not self._standardized(kind):
            return predicted
        return phi_s_invert(predicted, getattr(self, f'{kind}{number}_mean'), getattr(self, f'{kind}{number}_matrix'))

    def forward(self, student, teacher, batch, progress):
        losses = {}
        own = {}
        for key, number, kind, target in self._targets(teacher, batch.images):
            target = target.detach()
            if kind not in own:
                own[kind] = self._feature(student[self.student_taps[kind]], kind, self._student_prefix, 'the student')
            feature = own[kind]
            if self._standardized(kind):
                target = phi_s_apply(target, getattr(self, f'{key}_mean'), getattr(self, f'{key}_matrix'))
            weight = self.sources[number][f'{kind}_weight']
            if kind == 'summary':
                losses[key] = weight * radio_summary_loss(self.heads[key](feature), target)
                continue
            size = min(feature.shape[2:], target.shape[2:], key=math.prod)
            predicted, target = self.heads[key](_tokens(feature, size)), _tokens(target, size)
            losses[key] = weight * radio_spatial_loss(predicted, target, mode=self.mode)
        return losses


def _empty(shapes: dict, name: str) -> Tensor:
    shape = shapes[name]
    if isinstance(shape, list):
        raise ValueError(f'PHI-S reads one tensor for each feature: {name!r} is a list of them; name one, such as stages.-1.')
    return torch.empty(shape, device='meta')
