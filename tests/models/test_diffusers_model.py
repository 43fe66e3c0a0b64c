"""Networks and schedulers of diffusers as teachers and students, without any download."""
import copy
import json

import pytest
import torch

from zoo.diffusion import Denoiser, ddpm_alpha_sigma, sample
from zoo.models import build_network
from zoo.models.diffusers_model import embed_prompts, read_prompts
from zoo.models.released import load_released, save_released
from zoo.registry import MODELS

diffusers = pytest.importorskip('diffusers')

TEXT = dict(type='DiffusersModel', unet=dict(
    _class_name='UNet2DConditionModel', sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16),
    down_block_types=('CrossAttnDownBlock2D', 'DownBlock2D'), up_block_types=('UpBlock2D', 'CrossAttnUpBlock2D'),
    layers_per_block=1, cross_attention_dim=6, attention_head_dim=2, norm_num_groups=4),
    scheduler=dict(beta_schedule='scaled_linear', beta_start=0.00085, beta_end=0.012, prediction_type='v_prediction'))
IMAGE = dict(type='DiffusersModel', unet=dict(
    sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
    down_block_types=('DownBlock2D', 'DownBlock2D'), up_block_types=('UpBlock2D', 'UpBlock2D')))


def build(cfg):
    torch.manual_seed(0)
    return build_network(copy.deepcopy(cfg)).eval()


def test_schedule_is_the_schedulers():
    net = build(TEXT)
    denoiser = Denoiser(net)
    assert (denoiser.prediction_type, net.text) == ('v', True)
    alpha, sigma = denoiser.alpha_sigma(torch.tensor([1.0, 0.5], dtype=torch.float64))
    wanted = ddpm_alpha_sigma(torch.tensor([999, 499]), beta_schedule='scaled_linear', beta_start=0.00085, beta_end=0.012)
    torch.testing.assert_close(alpha, wanted['alpha'], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(sigma, wanted['sigma'], rtol=1e-4, atol=1e-6)
    assert Denoiser(build(IMAGE)).prediction_type == 'eps'


@pytest.mark.parametrize('cfg', [TEXT, IMAGE], ids=['text', 'image'])
def test_released_file_needs_no_pipeline(cfg, tmp_path):
    net = build(cfg)
    json.dumps(net.build_config)
    path = save_released(net, tmp_path / 'student.safetensors')
    again = load_released(path)
    x, time = torch.randn(2, net.in_channels, 8, 8), torch.tensor([5, 900])
    condition = torch.randn(2, 3, 6) if net.text else None
    with torch.no_grad():
        torch.testing.assert_close(again(x, time, condition), net(x, time, condition))
    assert torch.equal(again.schedule['alphas_cumprod'], net.schedule['alphas_cumprod'])
    assert again.prediction_type == net.prediction_type


def test_a_saved_pipeline(tmp_path):
    net = build(IMAGE)
    scheduler = diffusers.DDPMScheduler(beta_schedule='squaredcos_cap_v2')
    diffusers.DDPMPipeline(unet=net.unet, scheduler=scheduler).save_pretrained(tmp_path / 'pipeline')
    loaded = build(dict(type='DiffusersModel', path=str(tmp_path / 'pipeline')))
    x, time = torch.randn(2, 1, 8, 8), torch.tensor([5, 900])
    with torch.no_grad():
        torch.testing.assert_close(loaded(x, time), net(x, time))
    torch.testing.assert_close(loaded.schedule['alphas_cumprod'].float(), scheduler.alphas_cumprod)
    fresh = build(dict(type='DiffusersModel', path=str(tmp_path / 'pipeline'), pretrained=False))
    assert fresh.state_dict().keys() == net.state_dict().keys()


def test_ddim_draws_what_the_pipeline_draws():
    """The same noise through our sampler and through the library's loop."""
    net = build(IMAGE)
    torch.nn.init.normal_(net.unet.conv_out.weight, std=0.1)
    scheduler = diffusers.DDIMScheduler(timestep_spacing='trailing', clip_sample=True)
    scheduler.set_timesteps(5)
    noise = torch.randn(2, 1, 8, 8)
    ours, x = sample(Denoiser(net), noise, sampler='ddim', steps=5), noise
    with torch.no_grad():
        for step in scheduler.timesteps:
            x = scheduler.step(net.unet(x, step).sample, step, x, use_clipped_model_output=True).prev_sample
    torch.testing.assert_close(ours, x.clamp(-1, 1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('second_order', [False, True])
def test_boot_with_prompts_in_place_of_data(second_order, tmp_path):
    """A guided text-conditional teacher; steps on the student lower the loss."""
    from zoo.data import NoiseDataset, collate_batch
    words = {'a cat': 1.0, 'a dog': 2.0, '': 0.0}
    (tmp_path / 'prompts.txt').write_text('a cat\n\na dog\n')
    prompts = read_prompts(tmp_path / 'prompts.txt')
    path = embed_prompts(lambda texts: torch.stack([torch.full((3, 6), words[t]) for t in texts]), prompts,
                         tmp_path / 'prompts.safetensors')
    data = NoiseDataset(8, (4, 8, 8), prompts=path)
    torch.manual_seed(0)
    model = MODELS.build(dict(
        type='Distillation', teacher=dict(copy.deepcopy(TEXT), untrained=True), student=copy.deepcopy(TEXT),
        distillers=[dict(type='BOOT', guidance_scale=3.0, second_order=second_order, max_weight=100.0, delta=0.1)],
        task=dict(type='Diffusion', input_shape=(4, 8, 8), condition_shape=(3, 6), loss_weight=0.0,
                  sampler=dict(type='boot', steps=1, clip=False)),
        data_preprocessor=dict(type='BatchPreprocessor')))
    batch = model.data_preprocessor(collate_batch(data.__getitems__(range(4))), training=True)
    assert torch.equal(batch['condition'][:, 0, 0], torch.tensor([1.0, 2.0, 1.0, 2.0]))
    optimizer, losses = torch.optim.Adam(model.student.parameters(), lr=1e-3), []
    for _ in range(8):
        torch.manual_seed(1)
        terms = model(batch, mode='loss')
        losses.append(sum(terms.values()).item())
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    assert all(torch.isfinite(p.grad).all() for p in model.student.parameters() if p.grad is not None)
    drawn = model.eval()(batch, mode='predict')[0]['samples']
    assert drawn.shape == (4, 4, 8, 8) and torch.isfinite(drawn).all()


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match='path .* or unet'):
        build(dict(type='DiffusersModel'))
    with pytest.raises(ValueError, match='alphas_cumprod'):
        build(dict(IMAGE, scheduler=dict(_class_name='EDMEulerScheduler')))
    with pytest.raises(ValueError, match='embeddings of prompts'):
        build(TEXT)(torch.zeros(1, 4, 8, 8), torch.zeros(1))
    with pytest.raises(ValueError, match='empty'):
        Denoiser(build(TEXT))(torch.zeros(1, 4, 8, 8), 0.5, torch.zeros(1, 3, 6), guidance_scale=2.0)
    with pytest.raises(FileNotFoundError, match='one prompt a line'):
        read_prompts(tmp_path / 'none.txt')
    (tmp_path / 'empty.txt').write_text('\n')
    with pytest.raises(ValueError, match='no prompts'):
        read_prompts(tmp_path / 'empty.txt')
