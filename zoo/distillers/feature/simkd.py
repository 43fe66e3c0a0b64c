"""SimKD.

Chen, Mei, Zhang, Wang, Feng, Chen: Knowledge Distillation with the Reused Teacher Classifier. CVPR 2022,
arXiv:2203.14001. Reference code: DefangChen/SimKD@2b389c3 (models/util.py, SimKD).
"""
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from zoo.registry import DISTILLERS, MODELS
from zoo.taps import TapReader

from ..base import Distiller, Needs

__all__ = ['SimKD', 'SimKDProjector', 'SimKDStudent']


class SimKDProjector(nn.Module):
    """A bottleneck from the student's last map to the teacher's (section 3.2).

    Args:
        student_channels, teacher_channels: widths of the maps.
        factor: the bottleneck has ``teacher_channels // factor`` channels.
        final_relu: False for a teacher whose last map is not the output of a ReLU.

    Raises:
        ValueError: if the bottleneck has no channel.
    """

    def __init__(self, student_channels: int, teacher_channels: int, factor: int = 2, final_relu: bool = True):
        super().__init__()
        hidden = teacher_channels // factor
        if hidden < 1:
            raise ValueError(f'SimKD: teacher_channels // factor = {teacher_channels} // {factor} leaves no channel: '
                             'lower factor.')
        layers = [nn.Conv2d(student_channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(),
                  nn.Conv2d(hidden, hidden, 3, padding=1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(),
                  nn.Conv2d(hidden, teacher_channels, 1, bias=False), nn.BatchNorm2d(teacher_channels)]
        self.transfer = nn.Sequential(*layers, *([nn.ReLU()] if final_relu else []))

    def forward(self, student_feat: Tensor, teacher_feat: Tensor, classifier_weight: Tensor,
                classifier_bias: Tensor | None) -> dict[str, Tensor]:
        """The terms of one step.

        Args:
            student_feat, teacher_feat: ``(N, C_s, H_s, W_s)`` and ``(N, C_t, H_t, W_t)``; the higher one is pooled
                to the size of the other.
            classifier_weight, classifier_bias: ``(K, C_t)`` and ``(K,)``, the teacher's.

        Returns:
            ``student_feat`` (transferred) and ``teacher_feat``, both ``(N, C_t, H, W)``; ``logits`` ``(N, K)``;
            ``loss``, the mean squared error of the two maps (eq. 2), a scalar.
        """
        if student_feat.shape[2] > teacher_feat.shape[2]:
            student_feat = F.adaptive_avg_pool2d(student_feat, teacher_feat.shape[2:])
        else:
            teacher_feat = F.adaptive_avg_pool2d(teacher_feat, student_feat.shape[2:])
        moved = self.transfer(student_feat)
        logits = F.linear(moved.mean((2, 3)), classifier_weight, classifier_bias)
        return dict(student_feat=moved, teacher_feat=teacher_feat, logits=logits, loss=_mse(moved, teacher_feat))


def _mse(student: Tensor, teacher: Tensor) -> Tensor:
    half = student.dtype in (torch.float16, torch.bfloat16)
    student, teacher = (x.float() if half else x for x in (student, teacher))
    return F.mse_loss(student, teacher.detach())


@MODELS.register_module()
class SimKDStudent(nn.Module):
    """What SimKD trains and releases: a student's backbone, the projector, the teacher's frozen classifier.

    The student's own classifier is replaced by an identity. :attr:`build_config`, a dict fit for JSON, rebuilds the
    network without its weights; it is None where the backbone has none.

    Args:
        student: the backbone, a network or its config.
        student_channels, teacher_channels: widths of the two last maps.
        num_classes: K of the teacher's classifier.
        factor: of :class:`SimKDProjector`.
        size: ``(H, W)`` of the teacher's last map; a higher student map is pooled to it.
        final_relu: of :class:`SimKDProjector`.
        student_tap: where the student's last map is read (:mod:`zoo.taps`).

    Raises:
        ValueError: if the student offers no such map.
    """
    classifier_name = 'classifier'
    stem_feats = 1

    def __init__(self, student: nn.Module | dict, student_channels: int, teacher_channels: int, num_classes: int,
                 factor: int = 2, size: tuple[int, int] = (8, 8), final_relu: bool = True,
                 student_tap: str = 'final_map'):
        super().__init__()
        if not isinstance(student, nn.Module):
            from zoo.models import build_network  # here: distillers are importable without the networks
            student = build_network(student)
        config = getattr(student, 'build_config', None)
        self.build_config = None if config is None else dict(
            type='SimKDStudent', student=config, student_channels=student_channels,
            teacher_channels=teacher_channels, num_classes=num_classes, factor=factor, size=list(size),
            final_relu=final_relu, student_tap=student_tap)
        own = TapReader(student).classifier
        path = next(name for name, module in student.named_modules() if module is own)
        student.set_submodule(path, nn.Identity())
        self.student = student
        self.projector = SimKDProjector(student_channels, teacher_channels, factor, final_relu)
        self.classifier = nn.Linear(teacher_channels, num_classes).requires_grad_(False)
        self.size, self.student_tap = tuple(size), student_tap
        self.stem_feats = getattr(student, 'stem_feats', 1)
        self._reader = None if hasattr(student, 'forward_taps') else TapReader(student)  # not a module

    @property
    def added_parameters(self) -> int:
        """How many parameters projector and classifier add to the student's backbone."""
        return sum(p.numel() for m in (self.projector, self.classifier) for p in m.parameters())

    def reuse_classifier(self, classifier: nn.Linear) -> None:
        """Copy the teacher's classifier, weight ``(K, C_t)`` and bias ``(K,)`` (zeros where it has none)."""
        with torch.no_grad():
            self.classifier.weight.copy_(classifier.weight)
            if classifier.bias is None:
                self.classifier.bias.zero_()
            else:
                self.classifier.bias.copy_(classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` to logits ``(N, K)``."""
        return self.forward_taps(x, names=('logits',))['logits']

    def forward_taps(self, x: Tensor, names=None) -> dict[str, Tensor]:
        """``logits`` ``(N, K)``, ``pooled`` ``(N, C_t)`` and ``final_map`` ``(N, C_t, H, W)``, the transferred map;
        other names (``feats``, ``preact_feats``) are the backbone's own."""
        own = ('logits', 'pooled', 'final_map')
        others = tuple(name for name in names or () if name not in own)
        read = self.student.forward_taps if self._reader is None else self._reader
        taps = read(x, (self.student_tap, *others))
        final_map = dict.__getitem__(taps, self.student_tap)  # as computed: Taps would cast half precision
        if final_map.shape[2] > self.size[0]:
            final_map = F.adaptive_avg_pool2d(final_map, self.size)
        final_map = self.projector.transfer(final_map)
        pooled = final_map.mean((2, 3))
        values = dict(final_map=final_map, pooled=pooled)
        if names is None or 'logits' in names:
            values['logits'] = self.classifier(pooled)
        values.update((name, dict.__getitem__(taps, name)) for name in others)
        return values


@DISTILLERS.register_module()
class SimKD(Distiller):
    """SimKD: align the last map, predict with the teacher's classifier (Chen et al., CVPR 2022, arXiv:2203.14001).

    The student becomes a :class:`SimKDStudent`, which is trained, evaluated and released. It is the only loss: set
    ``task = dict(loss_weight=0.0)``.

    Args:
        factor: of :class:`SimKDProjector`.
        final_relu: False for a teacher whose last map is not the output of a ReLU.
    """
    needs = Needs(student=('final_map',), teacher=('final_map',))

    def __init__(self, factor: int = 2, final_relu: bool = True):
        super().__init__()
        self.factor, self.final_relu = factor, final_relu

    def adapt_student(self, student, teacher, shapes):
        if teacher is None:
            raise ValueError('SimKD reuses the classifier of a teacher network: set model.teacher.')
        for side, taps in (('student', shapes.student), ('teacher', shapes.teacher)):
            entry = taps.get('final_map')
            if entry is None or isinstance(entry, list) or len(entry) != 4:
                raise ValueError(f'SimKD aligns the last maps (N, C, H, W), and the {side} offers {entry} as '
                                 'final_map: take a convolutional network.')
        own, other = shapes.student['final_map'], shapes.teacher['final_map']
        classifier = shapes.teacher_net.classifier
        if not isinstance(classifier, nn.Linear) or classifier.in_features != other[1]:
            raise ValueError(f'SimKD needs a teacher whose classifier is one linear layer on its {other[1]} pooled '
                             f'channels, and this one has {classifier}.')
        points = getattr(shapes.student_net, 'points', None) or {}
        tap = ':'.join(points['final_map']) if 'final_map' in points else 'final_map'
        adapted = SimKDStudent(student, own[1], other[1], classifier.out_features, self.factor, tuple(other[2:]),
                               self.final_relu, tap)
        adapted.reuse_classifier(classifier)
        count = sum(p.numel() for p in adapted.student.parameters())
        print_log(f'SimKD: the student keeps {count:,} parameters and gains {adapted.added_parameters:,} (projector '
                  'and teacher classifier), which are released with it.', logger='current')
        return adapted

    def build(self, shapes):
        own, other = shapes.student['final_map'], shapes.teacher['final_map']
        if own[1] != other[1]:
            raise ValueError('SimKD compares the transferred map with the teacher\'s, but their channels are '
                             f'{own[1]} and {other[1]}: the student must be what adapt_student returned.')

    def forward(self, student, teacher, batch, progress):
        moved, target = student['final_map'], teacher['final_map']
        if target.shape[2:] != moved.shape[2:]:
            target = F.adaptive_avg_pool2d(target, moved.shape[2:])
        return dict(simkd=_mse(moved, target))
