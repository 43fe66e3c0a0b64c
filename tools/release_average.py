#!/usr/bin/env python3
"""Make a released file of a training checkpoint, while its run goes on or after it was stopped.

    python tools/release_average.py CONFIG work_dirs/.../epoch_2.pth student.safetensors

The file holds the average of the student where the run keeps one (EMAHook), else the student.
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('out', type=Path)
    parser.add_argument('--raw', action='store_true', help='the student itself, not its average')
    args = parser.parse_args()

    from zoo.engine.launch import exit_status
    from zoo.engine.sample import release_checkpoint

    def work() -> None:
        print(release_checkpoint(args.config, args.checkpoint, args.out, average=not args.raw))

    return exit_status(work)


if __name__ == '__main__':
    sys.exit(main())
