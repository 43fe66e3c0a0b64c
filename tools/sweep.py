#!/usr/bin/env python3
"""Compare methods: one pair, one budget, several seeds, one table.

    python tools/sweep.py configs/classification/sweep/resnet20_resnet8half_digits.py --methods none kd dkd at --seeds 0 1 2
    python tools/sweep.py BASE --all --seeds 0 1 2 --epochs 5 --out work_dirs/sweeps/all
    python tools/sweep.py BASE --methods none ctkd ctkd:dkd --processes 2 --commit-to ctkd_digits
    python tools/sweep.py configs/detection/sweep/gfl_r18_r18half_bccd.py --methods none pkd crosskd

BASE has data, schedule, teacher and student, and model.distillers=[]; `none` is the student alone. Each run is a process of
its own. The same command again skips what is finished and continues the rest; Ctrl-C is safe.
Writes table.md, table.csv, table.png and results.json into --out.
"""
import argparse
import shlex
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Run the sweep; the exit status is 0, 1 where a run failed or the command is wrong, 130 after Ctrl-C."""
    from mmengine.config import DictAction
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('base', help='config of data, schedule and pair')
    parser.add_argument('--methods', nargs='+', default=[], metavar='NAME',
                        help='none, a slug of zoo.distillers.METHODS, or slug:suffix for a variant of its config')
    parser.add_argument('--all', action='store_true', help='none and every method that has a config')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--epochs', type=int, help="default: the base config's; its schedule keeps its shape")
    parser.add_argument('--out', help='default: work_dirs/sweeps/ and the name')
    parser.add_argument('--name', help="default: the base config's file name")
    parser.add_argument('--processes', type=int, metavar='N',
                        help='runs at the same time; default: one a CUDA device, 1 on the CPU')
    parser.add_argument('--keep-epoch-options', action='store_true',
                        help="leave a method's warm-up and curriculum lengths in epochs as its config has them; "
                             'by default they keep their share of the run')
    parser.add_argument('--commit-to', metavar='NAME', help='file the tables as zoo/tables/measured/NAME.*')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override the base config')
    args = parser.parse_args(arguments)
    typed = sys.argv[1:] if arguments is None else arguments

    from zoo.engine import sweep, sweep_table
    from zoo.engine.launch import exit_status

    def work() -> int:
        base = sweep.load_base(args.base, epochs=args.epochs, options=args.cfg_options)
        methods, without = sweep.find_methods(args.methods, everything=args.all, dataset=base.get('dataset_name', ''),
                                              configs=sweep.methods_folder(base))
        out = Path(args.out or Path('work_dirs', 'sweeps', args.name or Path(args.base).stem))
        seeds = list(dict.fromkeys(args.seeds))
        jobs = sweep.plan(base, methods, seeds, out, scale_epochs=not args.keep_epoch_options)
        where = sweep.places(args.processes)
        teacher = sweep.measure_teacher(base, out)
        if len(teacher) > 1:
            said = '  '.join(f'{k} {v:.4g}' for k, v in teacher.items() if k != 'parameters')
            print(f'The teacher, on the images that the runs are scored on: {said}', flush=True)
        interrupted = False
        try:
            sweep.Runs(where, say=lambda line: print(line, flush=True)).run(jobs)
        except KeyboardInterrupt:
            interrupted = True
        found = sweep.collect(jobs)
        if not interrupted:
            for job in jobs:
                record = found[job.method.label]['records'].get(job.seed)
                if job.method.config is None and record is not None:
                    record['last']['agreement'] = sweep.measure_agreement(base, job)
        command = shlex.join(['python', 'tools/sweep.py', *typed])
        facts = sweep_table.facts_of(
            base, found, teacher, seeds, command=command, base_path=args.base, methods=methods, without=without,
            processes=len(where), scale_epochs=not args.keep_epoch_options)
        sweep_table.write_tables(out, found, facts)
        if interrupted:
            print(f'Interrupted; the table of what is finished: {out}/table.md. The same command continues.',
                  file=sys.stderr)
            return 130
        print((out / 'table.md').read_text(encoding='utf-8'))
        print(f'Written: {out}/table.md, table.csv, table.png, results.json')
        if args.commit_to:
            print('Filed: ' + ', '.join(map(str, sweep_table.commit_tables(out, args.commit_to))))
        return 1 if any(entry['errors'] for entry in found.values()) else 0

    # a terminated sweep ends its runs as Ctrl-C does
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return exit_status(work)
    except KeyboardInterrupt:
        print('Interrupted before a run had begun.', file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == '__main__':
    sys.exit(main())
