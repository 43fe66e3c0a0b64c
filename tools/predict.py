#!/usr/bin/env python3
"""Predict images: the five likeliest classes, boxes drawn, or classes painted.

    python tools/predict.py cat.jpg photos/ --checkpoint work_dirs/.../student.safetensors
    python tools/predict.py IMAGE... --config CONFIG --checkpoint CHECKPOINT --out pictures --score-threshold 0.4
    python tools/predict.py --config CONFIG --from-data 6 --compare teacher=T.safetensors student=S.safetensors --out pictures

A released student (.safetensors) needs no config; with one, images go through the transforms of its test set. --compare lays
several models' predictions of the same images (and, with --from-data, the ground truth) side by side in OUT/compare.png.
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> int:
    from mmengine.config import DictAction
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('images', nargs='*', metavar='IMAGE', help='image files and folders')
    parser.add_argument('--config')
    parser.add_argument('--checkpoint', help='released student (.safetensors), zoo://name, or with --config any checkpoint')
    parser.add_argument('--out', type=Path, default=Path('predictions'), help='folder of the pictures (%(default)s)')
    parser.add_argument('--score-threshold', type=float, default=0.3, help='least score of a box (%(default)s)')
    parser.add_argument('--top', type=int, default=5, help='classes listed for an image (%(default)s)')
    parser.add_argument('--scale', type=int, nargs=2, metavar=('WIDTH', 'HEIGHT'),
                        help="fit a detector's or segmentor's image into this size")
    parser.add_argument('--compare', nargs='+', metavar='NAME=CHECKPOINT', help='several models side by side')
    parser.add_argument('--from-data', type=int, metavar='N', help="N images of the config's test set, with ground truth")
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override the config')
    args = parser.parse_args()

    from zoo.engine.launch import exit_status
    from zoo.engine.predict import run

    def work() -> None:
        run(args.images, config=args.config, checkpoint=args.checkpoint, out=args.out, score_threshold=args.score_threshold,
            top=args.top, scale=args.scale, checkpoints=args.compare, from_data=args.from_data, device=args.device,
            options=args.cfg_options)

    return exit_status(work)


if __name__ == '__main__':
    sys.exit(main())
