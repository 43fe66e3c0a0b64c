"""CIRKD: cross-image relations of pixel embeddings.

Yang, Zhou, An, Jiang, Xu, Zhang: Cross-Image Relational Knowledge Distillation for Semantic Segmentation. CVPR 2022,
arXiv:2204.06986.
Reference code: winycg/CIRKD@dab64db (losses/kd.py, cirkd_mini_batch.py, cirkd_memory.py, train_cirkd.py).
"""
import torch
import torch.nn.functional as F
from mmengine import dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zoo.registry import DISTILLERS

from ..base import Distiller, Needs
from ..levels import pool_to_smaller

__all__ = ['CIRKD', 'cirkd_memory_loss', 'cirkd_minibatch_loss', 'cirkd_update_memory', 'pixel_kd_loss']

#: similarities of one network that are held at once; what is more is computed in pieces, and again in the backward pass
CHUNK = 2**24


def _single(x: Tensor) -> Tensor:
    """At least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def pixel_kd_loss(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """``T^2`` times the KL of the class distributions, the mean over all pixels. Half precision is computed in float32.

    Args:
        student_logits, teacher_logits: ``(N, K, h, w)``; the teacher's carries no gradient.
        temperature: T, applied to both.

    Raises:
        ValueError: if shapes differ.
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(f'pixel_kd_loss needs logits of one shape, got {tuple(student_logits.shape)} and '
                         f'{tuple(teacher_logits.shape)}.')
    student = (_single(student_logits) / temperature).log_softmax(1)
    teacher = (_single(teacher_logits.detach()) / temperature).log_softmax(1)
    total = F.kl_div(student, teacher, reduction='sum', log_target=True)
    return total * student.shape[1] / student.numel() * temperature**2


def _similarity_kl(student: Tensor, teacher: Tensor, student_set: Tensor, teacher_set: Tensor, scale: float,
                   blocks: int) -> Tensor:
    """The sum over rows and blocks of the KL between softmaxed similarities, in pieces of at most :data:`CHUNK`.

    Args:
        student, teacher: ``(P, C)`` rows.
        student_set, teacher_set: ``(blocks * M, C)``; the softmax goes over each block's M members.
        scale: factor of the similarities.
    """
    def piece(s: Tensor, t: Tensor) -> Tensor:
        own, target = (((rows @ others.T) * scale).view(len(rows), blocks, -1).log_softmax(-1)
                       for rows, others in ((s, student_set), (t, teacher_set)))
        return F.kl_div(own, target, reduction='sum', log_target=True)

    rows = max(1, CHUNK // max(1, len(student_set)))
    if len(student) <= rows:
        return piece(student, teacher)
    return torch.stack([checkpoint(piece, s, t, use_reentrant=False, preserve_rng_state=False)
                        for s, t in zip(student.split(rows), teacher.split(rows))]).sum()


def _rows(feat: Tensor) -> Tensor:
    """``(N, C, h, w)`` to ``(N * h * w, C)``."""
    return feat.permute(0, 2, 3, 1).flatten(0, 2)


def cirkd_minibatch_loss(student_feat: Tensor, teacher_feat: Tensor, *, temperature: float = 0.1, pool: int = 1) -> Tensor:
    """Similarities of each image's pixels with those of each image of the batch, itself included.

    For every ordered pair of images: KL of the row-wise softmax of the pixels' cosines over the temperature; the mean over
    pixels and pairs, without a factor of the temperature. Half precision is computed in float32.

    Args:
        student_feat: ``(N, C, h, w)``.
        teacher_feat: ``(N, C', h, w)``; carries no gradient.
        temperature: of the similarities.
        pool: both maps are first average-pooled by this factor.

    Raises:
        ValueError: if batch or map sizes differ.
    """
    if len(student_feat) != len(teacher_feat) or student_feat.shape[2:] != teacher_feat.shape[2:]:
        raise ValueError(f'cirkd_minibatch_loss needs maps of one size, got {tuple(student_feat.shape)} and '
                         f'{tuple(teacher_feat.shape)}.')
    student, teacher = _single(student_feat), _single(teacher_feat.detach())
    if pool > 1:
        student, teacher = (F.avg_pool2d(x, pool, ceil_mode=True) for x in (student, teacher))
    student, teacher = (_rows(F.normalize(x, dim=1)) for x in (student, teacher))
    images = len(student_feat)
    total = _similarity_kl(student, teacher, student, teacher, 1 / temperature, images)
    return total / (len(student) * images)


def _labels_at(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """``(N, H, W)`` labels brought to ``(N, *size)`` by torch's nearest neighbour."""
    if labels.shape[1:] == size:
        return labels
    return F.interpolate(labels[:, None].float(), size, mode='nearest')[:, 0].long()


def cirkd_memory_loss(student_feat: Tensor, teacher_feat: Tensor, labels: Tensor, pixel_queue: Tensor,
                      region_queue: Tensor, pixel_index: Tensor, region_index: Tensor, *,
                      contrast_temperature: float = 0.1, kd_temperature: float = 1.0,
                      ignore_index: int = -1) -> dict[str, Tensor]:
    """Similarities of the pixels with a memory of the teacher's embeddings: ``pixel`` and ``region``, without weights.

    For each pixel that is not ignored: KL between teacher and student of the softmax, over the chosen slots of all
    classes, of the cosines over ``contrast_temperature`` and ``kd_temperature``; the mean over these pixels, times
    ``kd_temperature^2``. Zero where all pixels are ignored. Half precision is computed in float32.

    Args:
        student_feat: ``(N, C, h, w)``, projected to the teacher's channels.
        teacher_feat: ``(N, C, h, w)``; carries no gradient.
        labels: ``(N, H, W)`` int64; only tells the ignored pixels.
        pixel_queue: ``(K, slots, C)``.
        region_queue: ``(K, slots', C)``.
        pixel_index, region_index: int64, the chosen slots, the same of every class.
    """
    if student_feat.shape != teacher_feat.shape:
        raise ValueError(f'cirkd_memory_loss needs features of one shape, got {tuple(student_feat.shape)} and '
                         f'{tuple(teacher_feat.shape)}: project the student to the teacher.')
    valid = _labels_at(labels, student_feat.shape[2:]).flatten() != ignore_index
    student, teacher = (_rows(F.normalize(_single(x), dim=1))[valid] for x in (student_feat, teacher_feat.detach()))
    if not len(student):
        nothing = 0 * _single(student_feat).sum()
        return dict(pixel=nothing, region=nothing)

    def against(queue: Tensor, index: Tensor) -> Tensor:
        contrast = queue[:, index].flatten(0, 1).to(student.dtype)
        total = _similarity_kl(student, teacher, contrast, contrast, 1 / (contrast_temperature * kd_temperature), 1)
        return total / len(student) * kd_temperature**2
    return dict(pixel=against(pixel_queue, pixel_index), region=against(region_queue, region_index))


def _enqueue(teacher_feat: Tensor, labels: Tensor, pixel_queue: Tensor, region_queue: Tensor, pixel_ptr: Tensor,
             region_ptr: Tensor, noise: Tensor, pixel_update: int, ignore_index: int, class_pixels: bool) -> None:
    """:func:`cirkd_update_memory` in place."""
    feat = F.normalize(_single(teacher_feat), dim=1).flatten(2).transpose(1, 2)
    labels = _labels_at(labels, teacher_feat.shape[2:]).flatten(1)
    classes, slots = pixel_queue.shape[:2]
    pixel_at, region_at = pixel_ptr.tolist(), region_ptr.tolist()
    for pixels, label, draw in zip(feat, labels, noise):
        for c in label.unique().tolist():
            if c == ignore_index:
                continue
            if not 0 <= c < classes:
                raise ValueError(f'The memory has {classes} classes, and a label is {c}, which is not ignore_index '
                                 f'{ignore_index} either.')
            own = (label == c).nonzero().flatten()
            region_queue[c, region_at[c]] = F.normalize(pixels[own].mean(0), dim=0).to(region_queue.dtype)
            region_at[c] = (region_at[c] + 1) % region_queue.shape[1]
            chosen = draw[:len(own)].argsort()[:pixel_update]
            if class_pixels:
                chosen = own[chosen]
            count = len(chosen)
            if count > slots:
                raise ValueError(f'{count} pixels of a class do not fit into a queue of {slots}: lower pixel_update.')
            start = pixel_at[c] if pixel_at[c] + count < slots else slots - count
            pixel_queue[c, start:start + count] = F.normalize(pixels[chosen], dim=1).to(pixel_queue.dtype)
            pixel_at[c] = 0 if pixel_at[c] + count >= slots else pixel_at[c] + count
    pixel_ptr.copy_(torch.tensor(pixel_at))
    region_ptr.copy_(torch.tensor(region_at))


@torch.no_grad()
def cirkd_update_memory(teacher_feat: Tensor, labels: Tensor, pixel_queue: Tensor, region_queue: Tensor, pixel_ptr: Tensor,
                        region_ptr: Tensor, noise: Tensor, *, pixel_update: int = 16, ignore_index: int = -1,
                        class_pixels: bool = False) -> dict[str, Tensor]:
    """New queues and pointers with the batch's embeddings: image by image, its classes in ascending order.

    A class's normalised mean goes to its region queue, a ring; ``pixel_update`` random pixels at most go to its pixel queue,
    to its last slots where they would reach the end, and then from the start again.

    Args:
        teacher_feat: ``(N, C, h, w)``; no gradient.
        labels: ``(N, H, W)`` int64; brought to ``h x w`` by the nearest neighbour.
        pixel_queue, region_queue: ``(K, slots, C)``, ``(K, slots', C)``.
        pixel_ptr, region_ptr: ``(K,)`` int64, the next slot.
        noise: ``(N, h * w)`` uniform; the order of its first n values permutes the n pixels of a class.
        class_pixels: take the pixels from the class's own. The released code instead takes these positions among the
            first n of the image, whatever their class (False).

    Raises:
        ValueError: for a label that is no class, or where more pixels are chosen than a queue has slots.
    """
    state = [x.clone() for x in (pixel_queue, region_queue, pixel_ptr, region_ptr)]
    _enqueue(teacher_feat, labels, *state, noise, pixel_update, ignore_index, class_pixels)
    return dict(zip(('pixel_queue', 'region_queue', 'pixel_ptr', 'region_ptr'), state))


def _gather(tensor: Tensor) -> Tensor:
    """The images of all processes in the order of their ranks, where their numbers may differ; no gradient."""
    if dist.get_world_size() == 1:
        return tensor
    sizes = [int(size) for size in dist.all_gather(torch.tensor([len(tensor)], device=tensor.device))]
    padded = tensor.new_zeros(max(sizes), *tensor.shape[1:])
    padded[:len(tensor)] = tensor
    return torch.cat([part[:size] for part, size in zip(dist.all_gather(padded), sizes)])


@DISTILLERS.register_module()
class CIRKD(Distiller):
    """CIRKD: pixel similarities across images and a memory (Yang et al., CVPR 2022, arXiv:2204.06986).

    Four terms: ``pixel_kd`` on the logits, ``minibatch``, ``pixel`` and ``region`` against the memory. The projector of the
    student's features is trained with it. The queues are buffers, filled by all processes and equal in all of them; they are
    left out where both memory weights are 0. Maps of different sizes are average-pooled to the smaller one.

    Args:
        kd_weight, minibatch_weight, pixel_weight, region_weight: of the four terms; a term of weight 0 is left out.
        temperature: of ``pixel_kd``.
        contrast_temperature: of all similarities.
        contrast_kd_temperature: of the distributions over the memory.
        pixel_memory, region_memory: slots of each class.
        pixel_contrast, region_contrast: how many embeddings of all classes together are drawn in a step: of each class this
            over K, plus 1, as in the released training script.
        pixel_update: pixels of a class that an image adds at most.
        class_pixels: see :func:`cirkd_update_memory`.
        pool: see :func:`cirkd_minibatch_loss`.
        ignore_index: of the labels.
        student_feat, teacher_feat: taps of the embeddings ``(N, C, h, w)``.

    Raises:
        ValueError: for sizes below 1, temperatures that are not positive, no term at all; from ``build`` for taps that are no
            maps or differ in classes.
    """

    def __init__(self, kd_weight: float = 1.0, minibatch_weight: float = 1.0, pixel_weight: float = 0.1,
                 region_weight: float = 0.1, temperature: float = 1.0, contrast_temperature: float = 0.1,
                 contrast_kd_temperature: float = 1.0, pixel_memory: int = 20000, region_memory: int = 2000,
                 pixel_contrast: int = 4096, region_contrast: int = 1024, pixel_update: int = 16,
                 class_pixels: bool = False, pool: int = 1, ignore_index: int = 255,
                 student_feat: str = 'decode_features', teacher_feat: str = 'decode_features'):
        super().__init__()
        if not any((kd_weight, minibatch_weight, pixel_weight, region_weight)):
            raise ValueError('CIRKD has no term: all of its weights are 0.')
        if min(temperature, contrast_temperature, contrast_kd_temperature) <= 0:
            raise ValueError('CIRKD needs temperatures above 0, got '
                             f'{temperature}, {contrast_temperature} and {contrast_kd_temperature}.')
        if min(region_memory, pixel_contrast, region_contrast, pixel_update, pool) < 1 or pixel_memory < pixel_update:
            raise ValueError('CIRKD needs sizes of at least 1 and pixel_memory >= pixel_update, got '
                             f'pixel_memory={pixel_memory}, region_memory={region_memory}, pixel_contrast={pixel_contrast}, '
                             f'region_contrast={region_contrast}, pixel_update={pixel_update}, pool={pool}.')
        self.weights = dict(pixel_kd=kd_weight, minibatch=minibatch_weight, pixel=pixel_weight, region=region_weight)
        self.temperature = temperature
        self.contrast_temperature, self.contrast_kd_temperature = contrast_temperature, contrast_kd_temperature
        self.pixel_memory, self.region_memory = pixel_memory, region_memory
        self.pixel_contrast, self.region_contrast = pixel_contrast, region_contrast
        self.pixel_update, self.class_pixels, self.pool = pixel_update, class_pixels, pool
        self.ignore_index = ignore_index
        self.student_feat, self.teacher_feat = student_feat, teacher_feat
        self.memory = bool(pixel_weight or region_weight)
        names = (('logits',) if kd_weight else ())
        features = bool(minibatch_weight) or self.memory
        self.needs = Needs(student=names + ((student_feat,) if features else ()),
                           teacher=names + ((teacher_feat,) if features else ()), labels=self.memory)

    def build(self, shapes):
        for side, taps in (('student', shapes.student), ('teacher', shapes.teacher)):
            for name, shape in taps.items():
                if isinstance(shape, list) or len(shape) != 4:
                    raise ValueError(f"CIRKD reads maps (N, C, h, w), and the {side}'s {name!r} is {shape}.")
        if 'logits' in shapes.student and shapes.student['logits'][1] != shapes.teacher['logits'][1]:
            raise ValueError(f"CIRKD needs the same classes on both sides; the student has {shapes.student['logits'][1]}, the "
                             f"teacher {shapes.teacher['logits'][1]}.")
        if not self.memory:
            return
        if not shapes.num_classes:
            raise ValueError('CIRKD keeps a memory of each class, and the task tells no num_classes.')
        own, width = shapes.student[self.student_feat][1], shapes.teacher[self.teacher_feat][1]
        self.projector = nn.Sequential(nn.Conv2d(own, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
                                       nn.Conv2d(width, width, 1, bias=False))
        for kind, slots in (('pixel', self.pixel_memory), ('region', self.region_memory)):
            queue = F.normalize(torch.randn(shapes.num_classes, slots, width), dim=2)
            self.register_buffer(f'{kind}_queue', queue)
            self.register_buffer(f'{kind}_ptr', torch.zeros(shapes.num_classes, dtype=torch.long))

    def prepare(self, training_set):
        if self.memory:  # processes may have different seeds
            dist.broadcast(self.pixel_queue)
            dist.broadcast(self.region_queue)

    @torch.no_grad()
    def _remember(self, teacher_feat: Tensor, labels: Tensor) -> None:
        """Put the embeddings of all processes into the queues."""
        noise = torch.rand(len(labels), labels[0].numel(), device=labels.device)
        feat, labels, noise = (_gather(x.contiguous()) for x in (teacher_feat, labels, noise))
        _enqueue(feat, labels, self.pixel_queue, self.region_queue, self.pixel_ptr, self.region_ptr, noise,
                 self.pixel_update, self.ignore_index, self.class_pixels)

    def _draw(self, queue: Tensor, total: int) -> Tensor:
        classes, slots = queue.shape[:2]
        return torch.randperm(slots, device=queue.device)[:total // classes + 1]

    def forward(self, student, teacher, batch, progress):
        terms = {}
        if self.weights['pixel_kd']:
            terms['pixel_kd'] = pixel_kd_loss(*pool_to_smaller(student['logits'], teacher['logits'].detach()),
                                              temperature=self.temperature)
        if self.weights['minibatch'] or self.memory:
            own, other = pool_to_smaller(student[self.student_feat], teacher[self.teacher_feat].detach())
        if self.weights['minibatch']:
            terms['minibatch'] = cirkd_minibatch_loss(own, other, temperature=self.contrast_temperature, pool=self.pool)
        if self.memory:
            labels = _labels_at(batch.labels, tuple(other.shape[2:]))
            self._remember(other, labels)
            memory = cirkd_memory_loss(
                self.projector(own), other, labels, self.pixel_queue, self.region_queue,
                self._draw(self.pixel_queue, self.pixel_contrast), self._draw(self.region_queue, self.region_contrast),
                contrast_temperature=self.contrast_temperature, kd_temperature=self.contrast_kd_temperature,
                ignore_index=self.ignore_index)
            terms.update({name: value for name, value in memory.items() if self.weights[name]})
        return {name: self.weights[name] * value for name, value in terms.items()}
