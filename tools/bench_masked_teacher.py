#!/usr/bin/env python3
"""What a masked, partly run teacher saves: FLOPs and time against a full teacher, at several mask ratios.

    python tools/bench_masked_teacher.py                               # DMAE's pair on ImageNet: ViT-L/16 to ViT-B/16
    python tools/bench_masked_teacher.py --config configs/masked_images/dmae/mae_small_tiny_cifar10_jpeg.py --batch-size 64
    python tools/bench_masked_teacher.py --rounds 0                    # FLOPs only, nothing is computed

FLOPs by torch.utils.flop_counter (a multiplication and an addition are two); weights are random, which costs the same.
"""
import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default='configs/masked_images/dmae/mae_vit_large_vit_base_imagenet.py',
                        help='of a dmae run; its student, teacher and (first) aligned blocks are taken')
    parser.add_argument('--mask-ratios', nargs='+', type=float, default=[0.75, 0.95, 0.98])
    parser.add_argument('--batch-size', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--device', default=None, help='default: cuda where there is one')
    parser.add_argument('--threads', type=int, default=os.cpu_count())
    args = parser.parse_args()

    import torch
    from mmengine.config import Config

    from zoo.engine.masked_cost import cost_table, masked_costs
    torch.set_num_threads(args.threads)
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    model = Config.fromfile(args.config).model
    networks = [{k: v for k, v in model[side].to_dict().items() if k not in ('checkpoint', 'pretrained', 'input')}
                for side in ('teacher', 'student')]
    distiller = next(d for d in model.distillers if d['type'] == 'DMAE')
    blocks = distiller.get('student_blocks', (8,))[0], distiller.get('teacher_blocks', (17,))[0]
    where = torch.cuda.get_device_name(0) if device.startswith('cuda') else f'CPU, {args.threads} threads'
    print(f'{where}, torch {torch.__version__}, batch {args.batch_size}, median of {args.rounds} rounds\n{args.config}: '
          f'teacher up to block {blocks[1]}, student block {blocks[0]} (from 0)\n')
    print(cost_table(masked_costs(*networks, blocks=blocks, mask_ratios=args.mask_ratios, batch_size=args.batch_size,
                                  rounds=args.rounds, device=device)))
    return 0


if __name__ == '__main__':
    sys.exit(main())
