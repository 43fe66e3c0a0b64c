"""Explanation-enhanced knowledge distillation (e2KD).

Parchami-Araghi, Boehle, Rao, Schiele: Good Teachers Explain: Explanation-Enhanced Knowledge Distillation. ECCV 2024,
arXiv:2402.03119. Reference code: m-parchami/GoodTeachersExplain@a1b7bb5 (bcos/distillation_methods/TeachersExplain.py).
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs

__all__ = ['E2KD', 'e2kd_loss', 'gradcam_map']


def _exact(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def gradcam_map(feat: Tensor, gradient: Tensor, *, size: tuple[int, int] | None = None) -> Tensor:
    """GradCAM: the ReLU of the map's channels, weighted by the mean gradient of a class's logit (section 3.2).

    Args:
        feat: ``(N, C, h, w)``.
        gradient: of the logit with respect to ``feat``, the same shape; may itself carry a graph.
        size: ``(H, W)`` that the map is resized to, bilinear with antialiasing; None leaves it.

    Returns:
        ``(N, 1, h, w)`` or ``(N, 1, *size)``.
    """
    feat, gradient = _exact(feat), _exact(gradient)
    cam = F.relu((gradient.mean((2, 3), keepdim=True) * feat).sum(1, keepdim=True))
    if size is None:
        return cam
    return F.interpolate(cam, size=tuple(size), mode='bilinear', align_corners=False, antialias=True)


def e2kd_loss(student_logits: Tensor, teacher_logits: Tensor, student_map: Tensor, teacher_map: Tensor, *,
              temperature: float = 1.0, explanation_weight: float = 1.0) -> dict[str, Tensor]:
    """Tempered KL of the logits and one minus the cosine of the explanations (eq. 1 to 3).

    Args:
        student_logits, teacher_logits: ``(N, K)``.
        student_map, teacher_map: ``(N, ...)``, flattened for the cosine; a map of zeros has cosine 0.
        temperature: T of the KL, which is multiplied by ``T^2``.
        explanation_weight: of the second term.

    Returns:
        ``kd`` and ``explanation`` (weighted), scalars.
    """
    student = F.log_softmax(_exact(student_logits) / temperature, dim=1)
    teacher = F.log_softmax(_exact(teacher_logits) / temperature, dim=1)
    cosine = F.cosine_similarity(_exact(student_map).flatten(1), _exact(teacher_map).flatten(1), dim=1)
    return dict(kd=F.kl_div(student, teacher, reduction='batchmean', log_target=True) * temperature**2,
                explanation=explanation_weight * (1 - cosine).mean())


@DISTILLERS.register_module()
class E2KD(Distiller):
    """E2KD: KD plus the similarity of GradCAM maps (Parchami-Araghi et al., ECCV 2024, arXiv:2402.03119).

    The maps explain the logit of the teacher's most likely class. The student's is differentiated twice: attention
    needs its plain kernel (``torch.nn.attention.SDPBackend.MATH``) and the student must not be compiled. The published
    runs use no cross-entropy: ``task = dict(loss_weight=0.0)``. B-cos explanations, which need B-cos networks, are not
    offered.

    Args:
        temperature: of the KL; the paper searches 1 and 5.
        explanation_weight: of the cosine term; the paper searches 1, 5 and 10.
        kd_weight: of the KL; the paper searches 1 and 0.5.
        guided_step_interval: the cosine term counts only at each so-many-th iteration (16 in the paper's cheap form).
        student_feat, teacher_feat: taps of the explained map ``(N, C, H, W)``.
    """

    def __init__(self, temperature: float = 1.0, explanation_weight: float = 1.0, kd_weight: float = 1.0,
                 guided_step_interval: int = 1, student_feat: str = 'final_map', teacher_feat: str = 'final_map'):
        super().__init__()
        if guided_step_interval < 1:
            raise ValueError(f'guided_step_interval counts iterations from 1, not {guided_step_interval}.')
        self.temperature, self.explanation_weight, self.kd_weight = temperature, explanation_weight, kd_weight
        self.guided_step_interval = guided_step_interval
        self.student_feat, self.teacher_feat = student_feat, teacher_feat
        self.needs = Needs(student=('logits', student_feat), teacher=('logits', teacher_feat), teacher_graph=True)

    def build(self, shapes):
        for side, name, taps in (('student', self.student_feat, shapes.student),
                                 ('teacher', self.teacher_feat, shapes.teacher)):
            if isinstance(taps[name], list) or len(taps[name]) != 4:
                raise ValueError(f'E2KD explains one map (N, C, H, W); the {side}\'s tap {name!r} is {taps[name]}: '
                                 'name another, such as stages.-1.')

    def forward(self, student, teacher, batch, progress):
        student_logits, teacher_logits = student['logits'], teacher['logits']
        if progress.iteration % self.guided_step_interval:
            empty = student_logits.new_ones(len(student_logits), 1)
            terms = e2kd_loss(student_logits, teacher_logits.detach(), empty, empty, temperature=self.temperature)
            return dict(kd=self.kd_weight * terms['kd'], explanation=student_logits.sum() * 0.0)
        classes = teacher_logits.detach().argmax(1)
        size = tuple(batch.images.shape[-2:])
        student_map = _explain(student, self.student_feat, classes, size, create_graph=True)
        teacher_map = _explain(teacher, self.teacher_feat, classes, size, create_graph=False).detach()
        terms = e2kd_loss(student_logits, teacher_logits.detach(), student_map, teacher_map,
                          temperature=self.temperature, explanation_weight=self.explanation_weight)
        return dict(kd=self.kd_weight * terms['kd'], explanation=terms['explanation'])


def _explain(taps: dict, name: str, classes: Tensor, size: tuple[int, int], *, create_graph: bool) -> Tensor:
    feat = dict.__getitem__(taps, name)  # the tensor itself: under autocast, reading by name gives a copy off the path
    score = taps['logits'].gather(1, classes[:, None]).sum()
    if not score.requires_grad or not feat.requires_grad:
        raise ValueError(f'E2KD differentiates the logits with respect to the tap {name!r}, and they carry no graph: '
                         'the pass must run with gradients (Needs.teacher_graph).')
    gradient, = torch.autograd.grad(score, feat, create_graph=create_graph, retain_graph=True, allow_unused=True)
    if gradient is None:
        raise ValueError(f'E2KD: the logits do not depend on the tap {name!r}: name a map that the classifier reads.')
    return gradcam_map(feat, gradient, size=size)
