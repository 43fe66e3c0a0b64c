"""From a batch of the loader to a batch of the network, on the network's device."""
from collections.abc import Mapping, Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from zoo.registry import MODELS, TRANSFORMS


@MODELS.register_module()
class BatchPreprocessor(BaseDataPreprocessor):
    """Move a batch to the device, augment it when training, and normalise it.

    Every entry ``images`` and ``images_<view>`` is augmented with its own draws, converted to float32 (uint8 divided by
    255; floating images are taken to lie in 0..1 already) and normalised as ``(images - mean) / std``.

    Args:
        mean, std: per channel, in units of 0..1; None (both) leaves the images in 0..1.
        augment: batched transforms (TRANSFORMS, see :mod:`zoo.data.batch_augment`) for training: a list for all views,
            or a dict ``{'images': [...], 'images_strong': [...]}`` that names each view (others are left alone). To
            replace an inherited list by a dict in a config, write ``augment=dict(_delete_=True, images=[...])``.
        mixup: arguments of ``timm.data.Mixup`` (``num_classes`` is needed; give ``label_smoothing``, whose default
            there is 0.1). In training, ``labels`` become soft ``(N, K)`` float32, ``hard_labels`` ``(N,)`` keep the
            classes, and ``mixup_lam`` ``(N,)`` float32 is the share of each image itself, the rest being that of the
            batch in reverse order. All views are mixed alike. In a batch of odd size the last image stays unmixed
            (share 1). timm draws from **numpy's global generator**, which the engine's checkpoints must save for exact
        resume. non_blocking: copy to the device without waiting; useful with pinned memory.

    Attributes:
        generator: a ``torch.Generator`` for the augmentation, or None (default) for the global generator of the device.
    """

    def __init__(self, mean: Sequence[float] | None = None, std: Sequence[float] | None = None, *,
                 augment: Sequence | Mapping = (), mixup: Mapping | None = None, non_blocking: bool = True):
        super().__init__(non_blocking=non_blocking)
        if (mean is None) != (std is None):
            raise ValueError('BatchPreprocessor needs both mean and std, or neither.')
        if mean is not None:
            if len(mean) != len(std):
                raise ValueError(f'mean has {len(mean)} channels, std has {len(std)}.')
            if min(std) <= 0 or max(*mean, *std) > 1:
                raise ValueError(f'mean and std are in units of 0..1 and std is above 0, got {mean} and {std}; '
                                 'divide by 255 if they are in units of 0..255.')
        self.register_buffer('mean', None if mean is None else torch.tensor(mean).float().view(1, -1, 1, 1), False)
        self.register_buffer('std', None if std is None else torch.tensor(std).float().view(1, -1, 1, 1), False)
        if isinstance(augment, Mapping) and 'type' in augment:
            raise ValueError('augment is a list, or a dict from view to list; put the single transform in a list.')
        self.augment = {key: _build(value) for key, value in augment.items()} if isinstance(
            augment, Mapping) else _build(augment)
        self.mixup = None if mixup is None else _recording_mixup(dict(mixup))
        self.generator = None

    def forward(self, data: Mapping, training: bool = False) -> dict:
        """The same dict with ``images`` (and further views) ``(N, C, H, W)`` float32, normalised, on the device.

        Raises:
            TypeError: where the batch is not a dict.
            KeyError: where a view that ``augment`` names is not in the batch.
            ValueError: where the channels do not fit ``mean``, or mixing lacks labels.
        """
        if not isinstance(data, Mapping):
            raise TypeError(f"BatchPreprocessor needs a dict, got {type(data).__name__}; use collate_fn=dict(type="
                            "'zoo.collate_batch') in the loader.")
        batch = self.cast_data(data)
        views = [key for key in batch if key == 'images' or key.startswith('images_')]
        if training:
            if isinstance(self.augment, dict):
                for key in self.augment:
                    if key not in views:
                        raise KeyError(f'augment names the view {key!r}, but the batch has {", ".join(views)}.')
            for key in views:
                for transform in self.augment.get(key, ()) if isinstance(self.augment, dict) else self.augment:
                    batch[key] = transform(batch[key], generator=self.generator)
        for key in views:
            batch[key] = _to_unit(batch[key])
        if training and self.mixup is not None:
            self._mix(batch, views)
        for key in views:
            batch[key] = self._normalise(batch[key])
        return batch

    def _normalise(self, images: Tensor) -> Tensor:
        if self.mean is None:
            return images
        channels = self.mean.shape[1]
        if images.shape[1] != channels:
            raise ValueError(f'mean and std have {channels} channels, but the images have {images.shape[1]}.')
        return (images - self.mean).div_(self.std)

    def _mix(self, batch: dict, views: list[str]) -> None:
        labels = batch.get('labels')
        if labels is None or labels.ndim != 1:
            raise ValueError('mixup needs a batch with labels (N,).')
        sizes = {batch[key].shape[2:] for key in views}
        if len(sizes) != 1:
            raise ValueError(f'mixup of several views needs one image size, got {sorted(map(tuple, sizes))}.')
        even = len(labels) // 2 * 2
        # views side by side as channels, so that they share shares and boxes, as they share labels
        images = torch.cat([batch[key] for key in views], dim=1)
        target, share = self.mixup.unmixed(labels)
        if even:
            images[:even], target[:even] = self.mixup(images[:even], labels[:even])
            share[:even] = self.mixup.share(even, labels.device)
        channels = [batch[key].shape[1] for key in views]
        batch.update(zip(views, images.split(channels, dim=1)))
        batch.update(labels=target, hard_labels=labels, mixup_lam=share)


def _build(transforms: Sequence) -> list:
    return [TRANSFORMS.build(item) if isinstance(item, Mapping) else item for item in transforms]


def _to_unit(images: Tensor) -> Tensor:
    if images.dtype == torch.uint8:
        return images.float().div_(255)
    if images.is_floating_point():
        return images.float()
    raise ValueError(f'Images must be uint8 (0..255) or floating (0..1), got {images.dtype}.')


def _recording_mixup(arguments: dict):
    """timm's Mixup that remembers its last shares, which some methods need beside the mixed labels."""
    from timm.data.mixup import Mixup, mixup_target

    class RecordingMixup(Mixup):
        def unmixed(self, labels: Tensor) -> tuple[Tensor, Tensor]:
            target = mixup_target(labels, self.num_classes, 1.0, self.label_smoothing)
            return target, torch.ones(len(labels), device=labels.device)

        def share(self, count: int, device: torch.device) -> Tensor:
            return torch.as_tensor(self.last_share, dtype=torch.float32, device=device).flatten().expand(count)

        def _mix_batch(self, x):
            self.last_share = super()._mix_batch(x)
            return self.last_share

        def _mix_elem(self, x):
            self.last_share = super()._mix_elem(x)
            return self.last_share

        def _mix_pair(self, x):
            self.last_share = super()._mix_pair(x)
            return self.last_share

    if 'num_classes' not in arguments:
        raise ValueError('mixup needs num_classes, for example mixup=dict(mixup_alpha=0.8, num_classes=10, '
                         'label_smoothing=0.0).')
    if not (arguments.get('mixup_alpha', 1.0) > 0 or arguments.get('cutmix_alpha', 0.0) > 0
            or arguments.get('cutmix_minmax')):
        raise ValueError('mixup needs mixup_alpha or cutmix_alpha above 0, or cutmix_minmax.')
    if arguments.get('multi_label'):
        raise ValueError('mixup supports one class an image; leave multi_label out.')
    try:
        return RecordingMixup(**arguments)
    except TypeError as error:
        raise ValueError(f'timm.data.Mixup does not take these arguments: {error}.') from error
