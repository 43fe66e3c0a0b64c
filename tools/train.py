#!/usr/bin/env python3
"""Train a config: a network alone, or a student under its teacher.

    python tools/train.py configs/classification/kd/resnet20_resnet8half_digits.py
    python tools/train.py CONFIG --amp bf16 --seed 1 --cfg-options train_cfg.max_epochs=5 model.teacher.checkpoint=PATH
    python tools/train.py CONFIG --resume                     # the newest checkpoint of the work directory
    torchrun --nproc_per_node=2 tools/train.py CONFIG --launcher pytorch

Writes into the work directory: the resolved config, checkpoints, scores.jsonl, record.json and student.safetensors.
"""
import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> int:
    from mmengine.config import DictAction
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('--work-dir', help='default: work_dirs/ and the path of the config below configs/')
    parser.add_argument('--amp', choices=['off', 'fp16', 'bf16'], help='mixed precision; default: as the config says (off)')
    parser.add_argument('--resume', nargs='?', const='auto', metavar='PATH',
                        help='continue from the newest checkpoint of the work directory, or from PATH')
    parser.add_argument('--seed', type=int, help='default: as the config says, else 0')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override the config')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))

    from zoo.engine.launch import exit_status, prepare_config, train

    def work() -> None:
        train(prepare_config(args.config, work_dir=args.work_dir, amp=args.amp, resume=args.resume, seed=args.seed,
                             launcher=args.launcher, options=args.cfg_options))

    return exit_status(work)


if __name__ == '__main__':
    sys.exit(main())
