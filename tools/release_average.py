#!/usr/bin/env python3
"""Make a released file of a training checkpoint, while its run goes on or after it was stopped.

    python tools/release_average.py CONFIG work_dirs/.../epoch_2.pth student.safetensors

The file holds the average of the student where the run keeps one (EMAHook), else the student.
"""
import argparse
import os
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

    from zoo.engine.launch import USER_ERRORS
    from zoo.engine.sample import release_checkpoint
    try:
        print(release_checkpoint(args.config, args.checkpoint, args.out, average=not args.raw))
    except USER_ERRORS as error:
        if os.environ.get('ZOO_TRACEBACK'):
            raise
        print(f'error: {error}\n(ZOO_TRACEBACK=1 shows where)', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
