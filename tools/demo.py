#!/usr/bin/env python3
"""See a student get better through distillation: one command, about a minute or two on a laptop, nothing to download.

    python tools/demo.py                          # or: make demo
    python tools/demo.py --images 1000            # with more images, what is left of the difference?

Trains a teacher on scikit-learn's digits, then one small student on 100 of the images, alone and under the teacher, for five
seeds; prints a table and writes work_dirs/demo/table.md and curves.png.
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; the exit status is 0, or 1 with one sentence on what to put right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default='work_dirs/demo', help='folder of the runs (default: %(default)s)')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4], help='of the students')
    parser.add_argument('--epochs', type=int, default=40, help='of each student (default: %(default)s)')
    parser.add_argument('--images', type=int, default=100, help='training images of the students (default: %(default)s)')
    parser.add_argument('--teacher-epochs', type=int, default=8, help='default: %(default)s')
    args = parser.parse_args(arguments)

    from rich.console import Console
    from rich.table import Table

    from zoo.engine.demo import run_demo, verdict, write_demo
    from zoo.engine.launch import exit_status

    def work() -> None:
        result = run_demo(args.out, seeds=args.seeds, epochs=args.epochs, teacher_epochs=args.teacher_epochs,
                          images=args.images, say=lambda line: print(line, flush=True))
        rows = write_demo(result, args.out)
        table = Table(title='scikit-learn digits, 360 test images')
        for column in rows[0]:
            table.add_column(column, justify='left' if column == 'network' else 'right')
        for row in rows:
            table.add_row(*row.values())
        console = Console(width=None if sys.stdout.isatty() else 130)
        console.print(table)
        console.print(verdict(result), highlight=False)
        print(f'All of it took {result["seconds"]:.0f} s. Written: {args.out}/table.md and {args.out}/curves.png')

    return exit_status(work)


if __name__ == '__main__':
    sys.exit(main())
