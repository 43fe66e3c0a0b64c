#!/usr/bin/env python3
"""Draw images with a diffusion model: a teacher, a distilled student, or both together.

    python tools/sample.py configs/diffusion/vanilla/unet_digits.py TEACHER.safetensors \\
        --steps 20 --n 64 --out grid.png --guidance 1.5
    python tools/sample.py configs/diffusion/boot/unet_digits.py STUDENT.safetensors --steps 1 --labels 3 7
    python tools/sample.py configs/diffusion/adaptive_collab/unet_mnist.py STUDENT.safetensors    # teacher refines what is poor

CHECKPOINT: a released student (.safetensors), a training checkpoint (.pth; its average where it has one) or plain weights.
The same seed gives the same noise to every model.
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> int:
    from mmengine.config import DictAction
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint', nargs='?', help="may be left out where the config's student has a checkpoint")
    parser.add_argument('--steps', type=int, help="of the sampler; default: the config's task.sampler")
    parser.add_argument('--n', type=int, default=64, help='images')
    parser.add_argument('--out', type=Path, default=Path('grid.png'))
    parser.add_argument('--sampler', help="ddim, ddpm, euler, heun, consistency or boot; default: the config's")
    parser.add_argument('--guidance', type=float, help='scale of classifier-free guidance; 1 is none')
    parser.add_argument('--labels', type=int, nargs='+', help='classes, going round; default: all')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--columns', type=int)
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--teacher', action='store_true', help="draw with the config's teacher")
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override the config')
    args = parser.parse_args()

    import torch
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from zoo.engine.launch import exit_status, prepare_config
    from zoo.engine.sample import Generator, collaboration, draw_grid, team_draw

    def work() -> None:
        if args.n < 1 or args.batch_size < 1:
            raise ValueError('--n and --batch-size are at least 1.')
        config = prepare_config(args.config, options=args.cfg_options)
        if config.get('collaboration') and not args.teacher:
            generator, team, facts = collaboration(config, args.checkpoint, seed=args.seed)
            images, steps = team_draw(team, facts, args.seed)(
                generator.noise(args.n, args.seed), generator.labels(args.n, args.labels), args.batch_size)
            print(f'threshold {facts["threshold"]:.4g} ({facts["percentile"]} % of the calibration lie below it), '
                  f'{steps:.2f} steps an image on average')
        else:
            generator = Generator(config, args.checkpoint, side='teacher' if args.teacher else 'student')
            noise, labels = generator.noise(args.n, args.seed), generator.labels(args.n, args.labels)
            total = args.n * (args.steps or (50 if args.sampler else generator.steps()))
            with Progress(TextColumn('drawing'), BarColumn(), TextColumn('{task.percentage:>3.0f} %'), TimeRemainingColumn(),
                          console=Console(stderr=True)) as bar:
                task = bar.add_task('', total=total)
                images = generator(noise, labels, steps=args.steps, sampler=args.sampler, guidance_scale=args.guidance,
                                   seed=args.seed, batch_size=args.batch_size,
                                   advance=lambda count: bar.advance(task, count))
        if not torch.isfinite(images).all():
            raise ValueError('The images are not finite: the weights are broken or the sampler does not fit the model.')
        print(f'{draw_grid(images, args.out, columns=args.columns)}: {len(images)} images')

    return exit_status(work)


if __name__ == '__main__':
    sys.exit(main())
