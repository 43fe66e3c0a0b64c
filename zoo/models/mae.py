"""Masked autoencoders, and any plain ViT on a part of its patches.

He, Chen, Xie, Li, Dollar, Girshick: Masked Autoencoders Are Scalable Vision Learners. CVPR 2022, arXiv:2111.06377.
Module paths and state-dict keys are those of facebookresearch/mae@efb2a80, whose encoder's are timm's.
"""
import math
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn

from zoo.models.build import build_network
from zoo.registry import MODELS, UnknownNameError, unknown

__all__ = ['MaskedAutoencoder', 'export_encoder', 'mask_indices', 'masked_taps', 'patchify', 'random_masking',
           'sincos_pos_embed_2d', 'unpatchify']


def patchify(images: Tensor, *, patch_size: int) -> Tensor:
    """Square images ``(N, C, H, H)`` as patches ``(N, L, p * p * C)``.

    Patches go row by row; inside each: pixel row, pixel column, channel.

    Raises:
        ValueError: if the images are not square or their side is no multiple of ``patch_size``.
    """
    count, channels, height, width = images.shape
    if height != width or height % patch_size:
        raise ValueError(f'Images {height}x{width} cannot be cut into square patches of {patch_size}: they must be square and '
                         'their side a multiple of it.')
    grid = height // patch_size
    patches = images.reshape(count, channels, grid, patch_size, grid, patch_size).permute(0, 2, 4, 3, 5, 1)
    return patches.reshape(count, grid * grid, patch_size * patch_size * channels)


def unpatchify(patches: Tensor, *, patch_size: int) -> Tensor:
    """The reverse of :func:`patchify`: ``(N, L, p * p * C)`` to ``(N, C, H, H)``.

    Raises:
        ValueError: if L is no square or the last axis no multiple of ``p * p``.
    """
    count, length, width = patches.shape
    grid = math.isqrt(length)
    if grid * grid != length or width % patch_size**2:
        raise ValueError(f'{length} patches of {width} values are no square grid of patches of {patch_size}x{patch_size}.')
    channels, side = width // patch_size**2, grid * patch_size
    images = patches.reshape(count, grid, grid, patch_size, patch_size, channels).permute(0, 5, 1, 3, 2, 4)
    return images.reshape(count, channels, side, side)


def mask_indices(noise: Tensor, *, mask_ratio: float) -> dict[str, Tensor]:
    """Which patches are hidden: ``int(L * (1 - mask_ratio))`` with the smallest noise stay visible.

    Args:
        noise: ``(N, L)``, uniform, one row an image.
        mask_ratio: share of the hidden patches, in [0, 1).

    Returns:
        ``mask`` ``(N, L)`` in the noise's dtype, 1 where hidden; ``ids_keep`` ``(N, V)`` int64, the visible patches in the
        order of their noise; ``ids_restore`` ``(N, L)`` int64, each patch's place in the order of the noise.

    Raises:
        ValueError: if no patch would stay visible, or the ratio is outside [0, 1).
    """
    length = noise.shape[1]
    visible = int(length * (1 - mask_ratio))
    if not 0 <= mask_ratio < 1 or visible < 1:
        raise ValueError(f'mask_ratio {mask_ratio} leaves none of {length} patches visible: choose one in [0, '
                         f'{1 - 1 / length:.4g}].')
    order = noise.argsort(dim=1)
    restore = order.argsort(dim=1)
    return dict(mask=(restore >= visible).to(noise.dtype), ids_restore=restore, ids_keep=order[:, :visible])


def random_masking(tokens: Tensor, noise: Tensor, *, mask_ratio: float) -> dict[str, Tensor]:
    """Keep the visible patches only.

    Args:
        tokens: ``(N, L, D)``, patches without class token.
        noise, mask_ratio: see :func:`mask_indices`.

    Returns:
        What :func:`mask_indices` returns, and ``tokens`` ``(N, V, D)`` in the order of ``ids_keep``.

    Raises:
        ValueError: if noise and tokens do not fit each other.
    """
    if noise.shape != tokens.shape[:2]:
        raise ValueError(f'The mask is drawn for {tuple(noise.shape)} patches and the network cuts images into '
                         f'{tuple(tokens.shape[:2])}: student, teacher and task need one patch grid (img_size / patch_size).')
    ids = mask_indices(noise, mask_ratio=mask_ratio)
    kept = tokens.gather(1, ids['ids_keep'][..., None].expand(-1, -1, tokens.shape[2]))
    return dict(ids, tokens=kept, mask=ids['mask'].to(tokens.dtype))


def sincos_pos_embed_2d(*, embed_dim: int, grid_size: int, cls_token: bool = False) -> Tensor:
    """Sine and cosine position embedding of a square grid, ``(grid_size**2 [+ 1], embed_dim)`` float64.

    The first half of the channels codes the column, the second the row; a class token's row of zeros comes first.

    Raises:
        ValueError: if ``embed_dim`` is no multiple of 4.
    """
    if embed_dim % 4:
        raise ValueError(f'The position embedding needs a width that is a multiple of 4, not {embed_dim}.')
    omega = 10000.0 ** -(torch.arange(embed_dim // 4, dtype=torch.float64) / (embed_dim // 4))
    angles = torch.arange(grid_size, dtype=torch.float64)[:, None] * omega
    line = torch.cat([angles.sin(), angles.cos()], dim=1)  # (grid_size, embed_dim / 2)
    columns, rows = line.repeat(grid_size, 1), line.repeat_interleave(grid_size, 0)
    embedding = torch.cat([columns, rows], dim=1)
    return torch.cat([embedding.new_zeros(1, embed_dim), embedding]) if cls_token else embedding


def _embed(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Prefix tokens ``(N, P, D)`` and patches ``(N, L, D)``, with their positions."""
    if isinstance(network, MaskedAutoencoder):
        return network.embed(images)
    parts = ('patch_embed', '_pos_embed', 'blocks', 'norm')
    tokens = network._pos_embed(network.patch_embed(images)) if all(hasattr(network, p) for p in parts) else None
    if not isinstance(tokens, Tensor) or tokens.dim() != 3:
        raise ValueError(f'{type(network).__name__} cannot be run on visible patches only: take a MaskedAutoencoder or a plain '
                         "ViT of timm's, such as dict(type='TimmModel', model_name='vit_large_patch16_224.mae').")
    prefix = network.num_prefix_tokens
    return tokens[:, :prefix], tokens[:, prefix:]


def masked_taps(network: nn.Module, images: Tensor, noise: Tensor, *, mask_ratio: float,
                names: Iterable[str]) -> dict[str, Tensor]:
    """Named tensors of one pass over the visible patches; only the blocks that the names need are run.

    Args:
        network: a :class:`MaskedAutoencoder`, or a timm ViT with position embedding.
        images: ``(N, C, H, H)``.
        noise, mask_ratio: see :func:`mask_indices`.
        names: of ``block0``, ``block1``, ... ``(N, P + V, D)``, a block's output (P prefix tokens first); ``latent``
            ``(N, P + V, D)``, the last one's after the final norm; ``mask`` ``(N, L)``; ``pred`` ``(N, L, p * p * C)``,
            where there is a decoder.

    Raises:
        UnknownNameError: for other names.
        ValueError: if the network is no ViT, or the mask was drawn for another number of patches.
    """
    names = tuple(names)
    prefix, patches = _embed(network, images)
    depth = len(network.blocks)
    known = [*(f'block{i}' for i in range(depth)), 'latent', 'mask', *(['pred'] if hasattr(network, 'decoder_pred') else [])]
    for name in names:
        if name not in known:
            raise UnknownNameError(unknown(f'tap of {type(network).__name__} under a mask', name, known))
    masked = random_masking(patches, noise, mask_ratio=mask_ratio)
    found = dict(mask=masked['mask'])
    whole = 'latent' in names or 'pred' in names
    last = depth if whole else max((int(name.removeprefix('block')) + 1 for name in names if name != 'mask'), default=0)
    x = torch.cat([prefix, masked['tokens']], dim=1)
    x = network.norm_pre(x) if hasattr(network, 'norm_pre') else x
    for index in range(last):
        x = found[f'block{index}'] = network.blocks[index](x)
    if whole:
        found['latent'] = network.norm(x)
    if 'pred' in names:
        found['pred'] = network.decode(found['latent'], masked['ids_restore'])
    return {name: found[name] for name in names}


@MODELS.register_module()
class MaskedAutoencoder(nn.Module):
    """A ViT encoder of the visible patches and a narrow ViT decoder that predicts the pixels of all (He et al., CVPR 2022).

    The encoder's keys are timm's, so that it can be used as a plain ViT (:func:`export_encoder`). Both position embeddings
    are fixed, and part of the state dict.

    Args:
        img_size: side of the square images.
        patch_size: p; divides ``img_size``.
        in_chans: channels of the images.
        embed_dim, depth, num_heads: of the encoder.
        decoder_embed_dim, decoder_depth, decoder_num_heads: of the decoder; a depth of 0 leaves it out, for a teacher.
        mlp_ratio: of all blocks.
    """
    classifier_name = None
    num_prefix_tokens = 1

    def __init__(self, *, img_size: int = 224, patch_size: int = 16, in_chans: int = 3, embed_dim: int = 768, depth: int = 12,
                 num_heads: int = 12, decoder_embed_dim: int = 512, decoder_depth: int = 8, decoder_num_heads: int = 16,
                 mlp_ratio: float = 4.0):
        super().__init__()
        from timm.layers import PatchEmbed
        from timm.models.vision_transformer import Block
        if img_size % patch_size:
            raise ValueError(f'img_size={img_size} is no multiple of patch_size={patch_size}.')
        for width, heads in ((embed_dim, num_heads), (decoder_embed_dim, decoder_num_heads if decoder_depth else 1)):
            if width % heads:
                raise ValueError(f'A width of {width} cannot be split into {heads} heads.')
        self.options = dict(img_size=img_size, patch_size=patch_size, in_chans=in_chans, embed_dim=embed_dim, depth=depth,
                            num_heads=num_heads, mlp_ratio=mlp_ratio)
        norm = partial(nn.LayerNorm, eps=1e-6)
        block = partial(Block, mlp_ratio=mlp_ratio, qkv_bias=True, norm_layer=norm)
        grid = img_size // patch_size
        self.patch_embed = PatchEmbed(img_size, patch_size, in_chans, embed_dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = _fixed_positions(embed_dim, grid)
        self.blocks = nn.ModuleList(block(embed_dim, num_heads) for _ in range(depth))
        self.norm = norm(embed_dim)
        if decoder_depth:
            self.decoder_embed = nn.Linear(embed_dim, decoder_embed_dim)
            self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_embed_dim))
            self.decoder_pos_embed = _fixed_positions(decoder_embed_dim, grid)
            self.decoder_blocks = nn.ModuleList(block(decoder_embed_dim, decoder_num_heads) for _ in range(decoder_depth))
            self.decoder_norm = norm(decoder_embed_dim)
            self.decoder_pred = nn.Linear(decoder_embed_dim, patch_size**2 * in_chans)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        weight = self.patch_embed.proj.weight
        nn.init.xavier_uniform_(weight.view(len(weight), -1))
        for token in (self.cls_token, getattr(self, 'mask_token', None)):
            if token is not None:
                nn.init.normal_(token, std=0.02)

    @property
    def tap_names(self) -> tuple[str, ...]:
        """What :meth:`forward_taps` gives."""
        decoded = ('pred',) if hasattr(self, 'decoder_pred') else ()
        return (*decoded, 'mask', 'latent', *(f'block{i}' for i in range(len(self.blocks))))

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The class token ``(N, 1, D)`` and the patches ``(N, L, D)``, with their positions."""
        patches = self.patch_embed(images) + self.pos_embed[:, 1:]
        return (self.cls_token + self.pos_embed[:, :1]).expand(len(images), -1, -1), patches

    def decode(self, latent: Tensor, ids_restore: Tensor) -> Tensor:
        """The pixels of all patches ``(N, L, p * p * C)`` from the visible ones.

        Args:
            latent: ``(N, 1 + V, D)``, after the final norm.
            ids_restore: ``(N, L)`` as :func:`mask_indices` gives it.
        """
        x = self.decoder_embed(latent)
        count, length = ids_restore.shape
        hidden = self.mask_token.to(x.dtype).expand(count, length + 1 - x.shape[1], -1)
        patches = torch.cat([x[:, 1:], hidden], dim=1).gather(1, ids_restore[..., None].expand(-1, -1, x.shape[2]))
        x = torch.cat([x[:, :1], patches], dim=1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x))[:, 1:]

    def forward_taps(self, images: Tensor, names: Iterable[str] | None = None, noise: Tensor | None = None, *,
                     mask_ratio: float = 0.75) -> dict[str, Tensor]:
        """:func:`masked_taps`; None for ``names`` is all, and for ``noise`` a draw from torch's global generator."""
        if noise is None:
            noise = torch.rand(len(images), self.patch_embed.num_patches, device=images.device)
        return masked_taps(self, images, noise, mask_ratio=mask_ratio, names=self.tap_names if names is None else names)

    def forward(self, images: Tensor, noise: Tensor | None = None, *, mask_ratio: float = 0.75) -> dict[str, Tensor]:
        """All taps of :func:`masked_taps`: ``pred``, ``mask``, ``latent``, ``block0``, ...

        Args:
            images: ``(N, C, H, H)``.
            noise: ``(N, L)``; None draws it from torch's global generator.
            mask_ratio: share of the hidden patches.
        """
        return self.forward_taps(images, noise=noise, mask_ratio=mask_ratio)


def _fixed_positions(embed_dim: int, grid_size: int) -> nn.Parameter:
    table = sincos_pos_embed_2d(embed_dim=embed_dim, grid_size=grid_size, cls_token=True)
    return nn.Parameter(table[None].to(torch.get_default_dtype()), requires_grad=False)


def export_encoder(autoencoder: MaskedAutoencoder) -> nn.Module:
    """The encoder as a plain timm ViT without classifier, in eval mode, that carries its ``build_config``.

    Its state dict has timm's keys alone: fine-tuning loads it with ``checkpoint=dict(path=..., rename='mae_mean_pool',
    fresh=('head', 'fc_norm'))`` into ``dict(type='TimmModel', ..., global_pool='avg')``.
    """
    options = dict(autoencoder.options)
    if options['in_chans'] == 3:
        del options['in_chans']
    network = build_network(dict(type='TimmModel', model_name='vit_base_patch16_224', num_classes=0, **options))
    wanted = network.state_dict()
    network.load_state_dict({key: value for key, value in autoencoder.state_dict().items() if key in wanted})
    return network.eval()
