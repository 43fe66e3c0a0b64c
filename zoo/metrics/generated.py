"""An mmengine metric of generated images."""
import logging
from collections import OrderedDict
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor, nn

from zoo.metrics.generation import feature_statistics, frechet_distance, precision_recall
from zoo.registry import METRICS


class FeatureNetwork:
    """A classifier whose pooled features and classes judge images in -1..1.

    Args:
        network: config of a network (with ``checkpoint``), a ``zoo://`` name or a released file (whose normalisation is then
            known), or a module.
        mean, std: per channel, of the classifier's input in 0..1; the released file's by default.
        pad: pixels (of the darkest value) added on each side before the classifier sees an image.
        size: side to which images are resized after that; None leaves it.
        channels: of the classifier; a grey image is repeated.
        batch_size: images at a time.

    Raises:
        FileNotFoundError: with the command that makes it, where the judge is not there.
    """

    def __init__(self, network: 'dict | str | nn.Module', mean=None, std=None, pad: int = 0, size: int | None = None,
                 channels: int | None = None, batch_size: int = 256):
        from zoo.models import build_network
        from zoo.models.checkpoint import _locate
        from zoo.models.released import load_released
        from zoo.taps import TapReader
        try:
            net = load_released(_locate(network)) if isinstance(network, str) else build_network(network)
        except FileNotFoundError as error:
            path = Path(str(network))
            hint = f' Train the judge first: python tools/train.py {Path("configs", *path.parts[1:-1]).with_suffix(".py")}' \
                if path.parts[:1] == ('work_dirs',) else ''
            raise FileNotFoundError(f'The network that judges the samples is not there: {error}{hint}') from None
        self.network = net.requires_grad_(False).eval()
        facts = getattr(net, 'preprocess', {})
        mean, std = facts.get('mean', mean) if mean is None else mean, facts.get('std', std) if std is None else std
        shape = facts.get('input_shape') or [channels or 3, 32, 32]
        self.channels = channels or shape[0]
        self.mean, self.std = (None if v is None else torch.tensor(v).float().view(1, -1, 1, 1) for v in (mean, std))
        self.pad, self.size, self.batch_size = pad, size, batch_size
        side = size or shape[-1]
        self.reader = TapReader(self.network, torch.zeros(2, self.channels, side, side))

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features ``(N, D)`` and logits ``(N, K)``, float32 on the CPU, of images ``(N, C, H, W)`` in -1..1."""
        features, logits = [], []
        self.network.to(images.device)
        for part in images.float().clamp(-1, 1).split(self.batch_size):
            # the images are judged as an 8-bit file would hold them
            part = ((part + 1) * 127.5).round() / 255
            part = F.pad(part, [self.pad] * 4)
            if self.size is not None and part.shape[-1] != self.size:
                part = F.interpolate(part, size=(self.size, self.size), mode='bilinear', antialias=True)
            part = part.expand(-1, self.channels, -1, -1) if part.shape[1] == 1 else part
            if self.mean is not None:
                part = (part - self.mean.to(part.device)) / self.std.to(part.device)
            taps = self.reader(part, ('pooled', 'logits'))
            features.append(taps['pooled'].cpu())
            logits.append(taps['logits'].cpu())
        return torch.cat(features), torch.cat(logits)


@METRICS.register_module()
class GenerationMetric(BaseMetric):
    """Fréchet distance, precision, recall and conditional accuracy of samples, by a classifier that the config names.

    The score is called ``fid_<name>``: a Fréchet distance on that classifier's features, comparable with no FID on Inception
    features. ``accuracy`` (percent) is how often the classifier sees the class that was asked for; ``real_accuracy`` the same
    of the reference images, its own error.

    Args:
        network: see :class:`FeatureNetwork`, which takes the ``options`` too.
        name: of the features, such as ``'mnist_resnet8'``.
        k: of precision and recall.
    """
    default_prefix = ''  # of mmengine: none, and no warning about it

    def __init__(self, network, name: str, k: int = 3, collect_device: str = 'cpu', prefix: str | None = None, **options):
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.features, self.name, self.k = FeatureNetwork(network, **options), name, k

    def process(self, data_batch, data_samples) -> None:
        """Take up batches of :meth:`zoo.tasks.Diffusion.predict`: ``samples``, ``images`` and ``labels``."""
        for batch in data_samples:
            missing = [key for key in ('samples', 'images') if key not in batch]
            if missing:
                raise KeyError(f'GenerationMetric needs {", ".join(missing)} in each batch; got {sorted(batch)}: it is the '
                               'metric of the task Diffusion.')
            fake, fake_logits = self.features(batch['samples'])
            real, real_logits = self.features(batch['images'])
            labels = batch['labels'].cpu() if 'labels' in batch else [None] * len(fake)
            for row in zip(fake, fake_logits.argmax(1), real, real_logits.argmax(1), labels):
                self.results.append(row)

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Scores of the rows that :meth:`process` made."""
        if not results:
            raise ValueError('GenerationMetric: nothing to evaluate; check that the data loader is not empty.')
        fake, fake_class, real, real_class, labels = zip(*results)
        fake_class, real_class = torch.stack(fake_class), torch.stack(real_class)
        scores = generation_scores(torch.stack(real), torch.stack(fake), k=self.k)
        scores[f'fid_{self.name}'] = scores.pop('fid')
        if labels[0] is not None:
            labels = torch.stack(labels)
            scores['accuracy'] = 100 * (fake_class == labels).double().mean().item()
            scores['real_accuracy'] = 100 * (real_class == labels).double().mean().item()
        return OrderedDict(scores)


def generation_scores(real: Tensor, fake: Tensor, *, k: int = 3) -> dict[str, float]:
    """``fid``, ``precision`` and ``recall`` (0..1) of features ``(N, D)`` and ``(M, D)``; a distance that cannot be computed
    from so few images is NaN, with a warning."""
    a, b = feature_statistics(real), feature_statistics(fake)
    try:
        scores = dict(fid=frechet_distance(a['mu'], a['sigma'], b['mu'], b['sigma']).item())
    except ValueError as error:  # too few images: no reason to lose a finished epoch
        print_log(str(error), 'current', logging.WARNING)
        scores = dict(fid=float('nan'))
    scores.update({name: value.item() for name, value in precision_recall(real, fake, k=k).items()})
    return scores
