"""Diffusion networks of the diffusers library, with their scheduler's noise levels (``pip install -e .[diffusion]``)."""
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from zoo.models.openmmlab import MissingPackageError
from zoo.registry import MODELS

PREDICTION_TYPES = {'epsilon': 'eps', 'sample': 'x0', 'v_prediction': 'v'}


def require_diffusers():
    """The library.

    Raises:
        MissingPackageError: if it is not installed.
    """
    try:
        import diffusers
    except ImportError:
        raise MissingPackageError('This config needs diffusers, which is not installed: '
                                  "pip install '.[diffusion]' in the zoo's folder installs it.") from None
    return diffusers


@MODELS.register_module()
class DiffusersModel(nn.Module):
    """The U-Net of a diffusers pipeline, in pixels or in latents; text-conditional ones are told embeddings of prompts.

    Args:
        path: folder or Hugging Face name of a pipeline (with ``model_index.json``, ``unet`` and ``scheduler``), or None.
        unet: config of the network (``_class_name`` of ``UNet2DModel`` or ``UNet2DConditionModel`` and its arguments), in place
            of the pipeline's; its weights are random.
        scheduler: config of the scheduler (``num_train_timesteps``, ``beta_schedule``, ``prediction_type`` ...), likewise.
        pretrained: False for the pipeline's architecture with random weights.
        revision: of the Hugging Face repository, such as a commit.

    Attributes:
        build_config: rebuilds the network without the pipeline: what a released student carries.

    Raises:
        MissingPackageError: if diffusers is not installed.
        ValueError: if neither ``path`` nor ``unet`` is given, or the scheduler has no table of alphas (such as EDM's).
    """

    def __init__(self, path: str | None = None, unet: Mapping | None = None, scheduler: Mapping | None = None,
                 pretrained: bool = True, revision: str | None = None):
        super().__init__()
        diffusers = require_diffusers()
        if path is None and unet is None:
            raise ValueError('DiffusersModel needs path (of a pipeline) or unet (a config).')
        options = {} if revision is None else {'revision': revision}
        if path is not None:
            index = diffusers.DiffusionPipeline.load_config(path, **options)
            kinds = {name: getattr(diffusers, index[name][1]) for name in ('unet', 'scheduler') if name in index}
            if len(kinds) < 2:
                raise ValueError(f'{path} is no pipeline with `unet` and `scheduler`; it has {", ".join(index)}.')
        if unet is not None:
            self.unet = _from_config(diffusers, dict(unet), 'UNet2DModel')
        elif pretrained:
            self.unet = kinds['unet'].from_pretrained(path, subfolder='unet', **options)
        else:
            self.unet = kinds['unet'].from_config(kinds['unet'].load_config(path, subfolder='unet', **options))
        if scheduler is not None or path is None:
            found = _from_config(diffusers, dict(scheduler or {}), 'DDPMScheduler')
        else:
            found = kinds['scheduler'].from_pretrained(path, subfolder='scheduler', **options)
        if not hasattr(found, 'alphas_cumprod'):
            raise ValueError(f'{type(found).__name__} has no alphas_cumprod: give scheduler=dict(num_train_timesteps=..., '
                             'beta_schedule=..., prediction_type=...) as the model was trained.')
        self.prediction_type = PREDICTION_TYPES[found.config.get('prediction_type', 'epsilon')]
        self.schedule = dict(type='ddpm', alphas_cumprod=found.alphas_cumprod.double())
        self._scheduler = json.loads(diffusers.DDPMScheduler.from_config(found.config).to_json_string())
        self.text = isinstance(self.unet, diffusers.UNet2DConditionModel)
        self.in_channels = self.unet.config.in_channels

    @property
    def build_config(self) -> dict:
        own = {key: value for key, value in json.loads(self.unet.to_json_string()).items() if key != '_name_or_path'}
        return dict(type='DiffusersModel', unet=own, scheduler=self._scheduler)

    @build_config.setter
    def build_config(self, value) -> None:
        pass  # what it was built from may name a pipeline that the user of a released file does not have

    def null_condition(self, condition: Tensor) -> Tensor:
        """A network of diffusers does not say which condition means none.

        Raises:
            ValueError: always; the data give it (``empty`` in the file of prompt embeddings).
        """
        raise ValueError('Guidance of a diffusers model needs the embedding of the empty (or negative) prompt: use '
                         'NoiseDataset(prompts=FILE), whose file holds it as `empty`.')

    def forward(self, x: Tensor, time: Tensor, condition: Tensor | None = None) -> Tensor:
        """The output ``(N, C, H, W)``.

        Args:
            x: noisy images or latents ``(N, C, H, W)``.
            time: integer timesteps ``(N,)``.
            condition: embeddings ``(N, L, D)`` for a text-conditional network, else labels ``(N,)`` or None.
        """
        x = x.to(self.unet.dtype)
        if not self.text:
            return self.unet(x, time, class_labels=condition).sample
        if condition is None:
            raise ValueError('A text-conditional network needs embeddings of prompts: use NoiseDataset(prompts=FILE).')
        return self.unet(x, time, encoder_hidden_states=condition.to(x.dtype)).sample

    def forward_taps(self, x: Tensor, time: Tensor, condition: Tensor | None = None, names=('output',)) -> dict[str, Tensor]:
        """``output`` alone."""
        return dict(output=self(x, time, condition))


def _from_config(diffusers, config: dict, default: str):
    kind = getattr(diffusers, config.pop('_class_name', default), None)
    if kind is None:
        raise ValueError('diffusers has no such class: `_class_name` is one of its models or schedulers.')
    return kind.from_config({key: value for key, value in config.items() if not key.startswith('_')})


def read_prompts(path: str | os.PathLike) -> list[str]:
    """The prompts of a text file, one a line; empty lines are left out.

    Raises:
        FileNotFoundError, ValueError: if it is missing or has none.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'There is no prompt file {path}: write one prompt a line.')
    prompts = [line.strip() for line in path.read_text(encoding='utf-8').splitlines() if line.strip()]
    if not prompts:
        raise ValueError(f'{path} has no prompts: write one a line.')
    return prompts


@torch.no_grad()
def embed_prompts(encode: Callable[[Sequence[str]], Tensor], prompts: Sequence[str], out: str | os.PathLike, *,
                  negative_prompt: str = '', batch_size: int = 32) -> Path:
    """Write the embeddings of prompts, as :class:`zoo.data.NoiseDataset` reads them.

    Args:
        encode: prompts to ``(n, L, D)``; of a pipeline, see :func:`pipeline_encoder`.
        out: ``.safetensors``: ``embeddings`` ``(P, L, D)`` and ``empty`` ``(L, D)``, float16.
        negative_prompt: what guidance leads away from.
    """
    from safetensors.torch import save_file
    parts = [encode(list(prompts[i:i + batch_size])).cpu() for i in range(0, len(prompts), batch_size)]
    tensors = dict(embeddings=torch.cat(parts), empty=encode([negative_prompt])[0].cpu())
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.half().contiguous() for name, value in tensors.items()}, out)
    return out


def pipeline_encoder(path: str, device: str = 'cpu') -> Callable[[Sequence[str]], Tensor]:
    """The text encoder of a pipeline such as Stable Diffusion's: padded prompts to last hidden states.

    Raises:
        MissingPackageError: if transformers is not installed.
    """
    try:
        from transformers import AutoTokenizer, CLIPTextModel
    except ImportError:
        raise MissingPackageError('Text encoders need transformers, which is not installed: pip install transformers') from None
    tokenizer = AutoTokenizer.from_pretrained(path, subfolder='tokenizer')
    encoder = CLIPTextModel.from_pretrained(path, subfolder='text_encoder').to(device).eval()

    def encode(prompts: Sequence[str]) -> Tensor:
        tokens = tokenizer(list(prompts), padding='max_length', truncation=True, max_length=tokenizer.model_max_length,
                           return_tensors='pt')
        return encoder(tokens.input_ids.to(device))[0]
    return encode
