#!/usr/bin/env python3
"""Evaluate a checkpoint: accuracy, calibration, and agreement with the teacher where the config has one; for detection
COCO's mAP, for segmentation mIoU, with the scores of each class.

    python tools/test.py configs/classification/kd/resnet20_resnet8half_digits.py work_dirs/.../student.safetensors
    python tools/test.py CONFIG CHECKPOINT --no-teacher --out metrics.json

CHECKPOINT: a training checkpoint (.pth), a released student (.safetensors) or plain weights of the student.
"""
import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> int:
    from mmengine.config import DictAction
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint', nargs='?', help="may be left out where the config's student has a checkpoint")
    parser.add_argument('--no-teacher', action='store_true', help='leave teacher and distillers out')
    parser.add_argument('--work-dir')
    parser.add_argument('--out', type=Path, help='write the metrics as JSON')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override the config')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    args = parser.parse_args()

    from zoo.engine.launch import exit_status, leave_out_teacher, prepare_config, test

    def work() -> None:
        config = prepare_config(args.config, work_dir=args.work_dir, options=args.cfg_options, launcher=args.launcher)
        if args.no_teacher:
            leave_out_teacher(config)
        metrics = test(config, args.checkpoint)
        if args.out:
            metrics = {k: v if isinstance(v, dict) else float(v) for k, v in metrics.items()}
            args.out.write_text(json.dumps(metrics, indent=2) + '\n')

    return exit_status(work)


if __name__ == '__main__':
    sys.exit(main())
