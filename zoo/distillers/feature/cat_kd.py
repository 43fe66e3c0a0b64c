"""Class attention transfer.

Guo, Yan, Li, Lin: Class Attention Transfer Based Knowledge Distillation. CVPR 2023, arXiv:2304.12777.
Reference code: GzyAftermath/CAT-KD@4467073.

The reference moves the classifier in front of the global pooling, as a 1x1 convolution without bias. A linear layer
without bias and the mean over positions commute, so the network here keeps its form: only its classifier's bias is set
to zero, and the class activation maps (CAMs) are the final map times the classifier's weight.
"""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.registry import DISTILLERS
from zoo.taps import TapReader

from ..base import Distiller, Needs

__all__ = ['CATKD', 'cat_kd_loss']


def _selection(teacher_logits: Tensor, num_cams: int, select: str) -> Tensor | None:
    """``(N, K)`` mask of the classes to compare, or None where ties leave no equal number for each sample."""
    num_samples, num_classes = teacher_logits.shape
    low, high = (2, num_classes) if select == 'top' else (0, num_classes - 1)
    if not low <= num_cams <= high:
        raise ValueError(f'num_cams must lie in {low}..{high} for select={select!r} and {num_classes} classes, '
                         f'got {num_cams}.')
    ordered = teacher_logits.sort(dim=1, descending=True).values
    # both rules are the released code's, which keeps num_cams - 1 and num_cams + 1 maps
    if select == 'top':
        mask = teacher_logits > ordered[:, num_cams - 1, None]
    else:
        mask = teacher_logits <= ordered[:, num_classes - 1 - num_cams, None]
    kept = int(mask.sum())
    return mask if kept and kept % num_samples == 0 else None


def _unit(maps: Tensor) -> Tensor:
    """Each map divided by its norm over space; a map of zeros stays so, and gets no gradient instead of one / 1e-12."""
    zero = (maps == 0).all(dim=3, keepdim=True).all(dim=2, keepdim=True)
    return F.normalize(maps.masked_fill(zero, 0.0), dim=(2, 3))


def cat_kd_loss(student_cams: Tensor, teacher_cams: Tensor, teacher_logits: Tensor | None = None, *,
                resolution: int = 2, normalize: bool = False, binarize: bool = False, num_cams: int | None = None,
                select: str = 'top') -> Tensor:
    """Mean squared difference of the class activation maps, pooled to a coarse grid.

    Half precision is computed in float32. The value is the reference's everywhere; the gradient differs from it only at
    a student map that is exactly zero after pooling, under ``normalize`` (zero here).

    Args:
        student_cams: ``(N, K, Hs, Ws)``.
        teacher_cams: ``(N, K, Ht, Wt)``; carries no gradient.
        teacher_logits: ``(N, K)``, read only for ``num_cams``.
        resolution: side of the grid.
        normalize: divide each pooled map by its L2 norm.
        binarize: 1 where the teacher's map exceeds the mean of its absolute values, else 0, before pooling.
        num_cams: compare only some classes of each sample, as the released code does it: ``select='top'`` those with a
            logit above the ``num_cams``-th largest (``num_cams - 1`` maps), ``'bottom'`` the ``num_cams + 1`` smallest.
            All classes where ties make the total no positive multiple of N.
        select: ``'top'`` (``num_cams`` from 2 to K) or ``'bottom'`` (0 to K - 1).

    Raises:
        ValueError: for other numbers of classes, an unknown ``select``, ``num_cams`` out of range or without
            ``teacher_logits``.
    """
    if student_cams.shape[:2] != teacher_cams.shape[:2]:
        raise ValueError(f'cat_kd_loss needs maps (N, K, H, W) of the same N and K, got {tuple(student_cams.shape)} '
                         f'and {tuple(teacher_cams.shape)}.')
    if select not in ('top', 'bottom'):
        raise ValueError(f"select is 'top' or 'bottom', not {select!r}.")
    dtype = torch.promote_types(student_cams.dtype, torch.float32)
    student, teacher = student_cams.to(dtype), teacher_cams.detach().to(dtype)
    if binarize:
        teacher = (teacher > teacher.abs().mean((2, 3), keepdim=True)).to(dtype)
    if num_cams is not None:
        if teacher_logits is None:
            raise ValueError('num_cams needs teacher_logits (N, K), by which the classes are chosen.')
        mask = _selection(teacher_logits.detach(), num_cams, select)
        if mask is not None:
            student = student[mask].view(len(student), -1, *student.shape[2:])
            teacher = teacher[mask].view(len(teacher), -1, *teacher.shape[2:])
    student = F.adaptive_avg_pool2d(student, (resolution, resolution))
    teacher = F.adaptive_avg_pool2d(teacher, (resolution, resolution))
    if normalize:
        student, teacher = _unit(student), _unit(teacher)
    return F.mse_loss(student, teacher)


@torch.no_grad()
def _drop_bias(network: nn.Module) -> None:
    classifier = TapReader(network).classifier
    if not isinstance(classifier, nn.Linear):
        raise ValueError(f'CATKD needs a network that ends in a linear classifier; {type(network).__name__} ends in '
                         f'{type(classifier).__name__}.')
    if classifier.bias is not None:
        classifier.bias.zero_()
        classifier.bias.requires_grad_(False)


@DISTILLERS.register_module()
class CATKD(Distiller):
    """Class attention transfer: MSE of pooled class activation maps (Guo et al., CVPR 2023, arXiv:2304.12777).

    The paper's beta is the outer ``weight``; without the labels' cross-entropy (``task.loss_weight = 0``) the method is
    CAT. Both classifiers' biases are zeroed: the teacher's scores change slightly, the student's bias stays frozen.

    Args:
        resolution, normalize, binarize, num_cams, select: see :func:`cat_kd_loss`.
        student_map, teacher_map: taps of the maps whose mean over space is the classifier's input.
    """

    def __init__(self, resolution: int = 2, normalize: bool = False, binarize: bool = False,
                 num_cams: int | None = None, select: str = 'top', student_map: str = 'final_map',
                 teacher_map: str = 'final_map'):
        super().__init__()
        if select not in ('top', 'bottom'):
            raise ValueError(f"CATKD: select is 'top' or 'bottom', not {select!r}.")
        self.options = dict(resolution=resolution, normalize=normalize, binarize=binarize, num_cams=num_cams,
                            select=select)
        self.student_map, self.teacher_map = student_map, teacher_map
        self.needs = Needs(student=(student_map,), teacher=(teacher_map, 'logits'))
        self._networks = ()  # a tuple, so that the networks do not become submodules
        self._teacher_checked = False

    def adapt_student(self, student, teacher, shapes):
        _drop_bias(student)
        return student

    def adapt_teacher(self, teacher):
        _drop_bias(teacher)

    def build(self, shapes):
        if shapes.student_net is None or shapes.teacher_net is None:
            raise ValueError("CATKD reads both networks' classifiers: it cannot run from stored teacher outputs.")
        sides = dict(student=(shapes.student[self.student_map], shapes.student_net),
                     teacher=(shapes.teacher[self.teacher_map], shapes.teacher_net))
        for side, (shape, network) in sides.items():
            width = network.classifier.weight.shape[1]
            if len(shape) != 4 or shape[1] != width:
                raise ValueError(f"CATKD: the {side}'s map {tuple(shape)} is not (N, {width}, H, W), which its "
                                 f'classifier would take after pooling; set {side}_map.')
        student, teacher = (network.classifier.weight.shape[0] for _, network in sides.values())
        if student != teacher:
            raise ValueError(f'CATKD needs the same classes on both sides; the student has {student}, '
                             f'the teacher {teacher}.')
        num_cams, select = self.options['num_cams'], self.options['select']
        if num_cams is not None:
            _selection(torch.arange(float(teacher))[None], num_cams, select)
        self._networks = (shapes.student_net, shapes.teacher_net)

    def forward(self, student, teacher, batch, progress):
        student_net, teacher_net = self._networks
        student_cams = F.conv2d(student[self.student_map], student_net.classifier.weight.float()[:, :, None, None])
        with torch.no_grad():
            teacher_cams = F.conv2d(teacher[self.teacher_map], teacher_net.classifier.weight.float()[:, :, None, None])
        if not self._teacher_checked:
            self._check_teacher(teacher_cams, teacher['logits'])
        return dict(cat_kd=cat_kd_loss(student_cams, teacher_cams, teacher['logits'], **self.options))

    def _check_teacher(self, cams: Tensor, logits: Tensor) -> None:
        # a network that normalises between pooling and classifier passes the shape check of build()
        error, scale = (cams.mean((2, 3)) - logits).abs().max(), logits.abs().max()
        if error > 0.1 * scale + 1e-3:
            raise ValueError(f"CATKD: the mean over {self.teacher_map!r} times the classifier's weight is not the "
                             f"teacher's logits (off by {error:.3g}); the classifier's input must be the plain mean of "
                             'that map, without bias: set teacher_map, or take another teacher.')
        self._teacher_checked = True
