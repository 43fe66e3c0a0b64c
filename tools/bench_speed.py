#!/usr/bin/env python3
"""Measure what the engine costs beside a bare hand-written loop, and what the batched augmentation gains.

    python tools/bench_speed.py                                   # two pairs x kd, dkd, at; memory; augmentation
    python tools/bench_speed.py --pairs resnet20_resnet8 --methods kd --rounds 40 --amp bf16
    python tools/bench_speed.py --config configs/detection/ld/gfl_r18_r18half_digit_scenes.py --block 4 --rounds 8

With --config (detection and segmentation): the step of this config against the teacher's forward pass and the student's own
step by hand, after the time of the distillers' own maths is taken off.

Alternately in one process on the same tensors; the ratio is the median over rounds, with the quartiles.
"""
import argparse
import contextlib
import io
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> int:
    from mmengine.config import DictAction
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--pairs', nargs='+', default=['resnet32x4_resnet8x4', 'resnet20_resnet8'])
    parser.add_argument('--methods', nargs='+', default=['kd', 'dkd', 'at'])
    parser.add_argument('--config', nargs='+', default=[], help='configs of detection or segmentation, in place of pairs')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override these configs')
    parser.add_argument('--batch-size', type=int, help='default: 64, or as the config says')
    parser.add_argument('--rounds', type=int, default=20, help='blocks of each side')
    parser.add_argument('--block', type=int, default=10, help='steps a block')
    parser.add_argument('--amp', choices=['off', 'fp16', 'bf16'], default='off')
    parser.add_argument('--threads', type=int, default=os.cpu_count())
    parser.add_argument('--skip', nargs='*', default=[], choices=['step', 'memory', 'augmentation'])
    args = parser.parse_args()

    import torch

    from zoo.engine.speed import METHODS, measure_augmentation, measure_memory, measure_step
    unknown = [m for m in args.methods if m not in METHODS]
    if unknown:
        parser.error(f'no hand-written loop for {", ".join(unknown)}; there is one for {", ".join(METHODS)}')
    torch.set_num_threads(args.threads)
    where = torch.cuda.get_device_name(0) if torch.cuda.is_available() else f'CPU, {args.threads} threads'
    if args.config:
        return measure_configs(args, where)
    args.batch_size = args.batch_size or 64
    print(f'{where}, torch {torch.__version__}, batch {args.batch_size}, amp {args.amp}')
    if 'step' not in args.skip:
        print('\nstep: zoo (Runner, hooks, taps) / bare loop')
        for pair in args.pairs:
            for method in args.methods:
                with contextlib.redirect_stdout(io.StringIO()):  # the run's own progress lines
                    speed = measure_step(*pair.split('_', 1), method, batch_size=args.batch_size, block=args.block,
                                         rounds=args.rounds, amp=args.amp)
                low, high = speed.spread
                steps = args.block / (sum(speed.zoo) / len(speed.zoo))
                print(f'  {pair:22s} {method:4s} ratio {speed.ratio:.3f}  (quartiles {low:.3f} to {high:.3f}, '
                      f'{len(speed.zoo)} rounds of {args.block} steps)  {steps:.1f} steps/s', flush=True)
    if 'memory' not in args.skip:
        print('\npeak tensor memory of a step, MB: distillation / (student alone + teacher weights + teacher taps)')
        for pair in args.pairs:
            for method in args.methods:
                m = {k: v / 2**20 for k, v in measure_memory(*pair.split('_', 1), method, batch_size=args.batch_size).items()}
                # on the CPU the profiler counts what a step allocates, and the teacher's weights stood before it
                base = m['student_alone'] + m['teacher_taps'] + (m['teacher_weights'] if torch.cuda.is_available() else 0)
                print(f'  {pair:22s} {method:4s} {m["distillation"]:.1f} / {base:.1f} = {m["distillation"] / base:.3f}',
                      flush=True)
    if 'augmentation' not in args.skip:
        rates = measure_augmentation()
        print(f'\naugmentation: batched {rates["batched"]:.0f} images/s, torchvision per image with 2 workers '
              f'{rates["torchvision"]:.0f} images/s: {rates["batched"] / rates["torchvision"]:.1f} times')
    return 0


def measure_configs(args, where: str) -> int:
    import torch

    from zoo.engine.launch import USER_ERRORS, prepare_config
    from zoo.engine.speed import measure_config
    print(f'{where}, torch {torch.__version__}, amp {args.amp}')
    print('ms a step (on the CPU: of its time): zoo / (teacher + student) + maths; ratio = (zoo - maths) / (teacher + student)')
    for path in args.config:
        try:
            config = prepare_config(path, options=args.cfg_options)
            if args.batch_size:
                config.train_dataloader.batch_size = args.batch_size
            with contextlib.redirect_stdout(io.StringIO()):
                cost = measure_config(config, block=args.block, rounds=args.rounds, amp=args.amp)
        except USER_ERRORS as error:
            print(f'error: {path}: {error}', file=sys.stderr)
            return 1
        zoo, bare, maths = (1000 * sum(times) / len(times) / args.block for times in (cost.zoo, cost.bare, cost.maths))
        low, high = cost.spread
        print(f'  {path}: {zoo:.1f} / {bare:.1f} + {maths:.1f}  ratio {cost.ratio:.3f}  (quartiles {low:.3f} to {high:.3f}, '
              f'{len(cost.zoo)} rounds of {args.block} steps)', flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
