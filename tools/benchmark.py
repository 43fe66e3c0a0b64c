#!/usr/bin/env python3
"""Evaluate checkpoints and lay the results beside the papers'.

    python tools/benchmark.py                                    # all released checkpoints, sweeps and papers' rows
    python tools/benchmark.py --cards resnet20_digits --task classification
    python tools/benchmark.py --config CONFIG --checkpoint work_dirs/.../student.safetensors zoo://NAME ...
    python tools/benchmark.py --list                             # what would be evaluated, and from where
    python tools/benchmark.py --readme [--check]                 # the README's results, from the cards and sweeps

Writes benchmark.md, .csv, .json and one page .html that needs nothing else. A checkpoint is evaluated by its run's own config
where data set and file are at hand ($ZOO_DATA); else its card's number stands and says so.
"""
import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def arguments_of(given: list[str] | None) -> argparse.Namespace:
    from mmengine.config import DictAction
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--cards', nargs='*', metavar='NAME', help='these released checkpoints (default: all)')
    parser.add_argument('--config', help='with --checkpoint: a run of your own')
    parser.add_argument('--checkpoint', nargs='+', default=[], metavar='CKPT', help='its checkpoints, released files or zoo://NAME')
    parser.add_argument('--dataset', help='only rows whose data set holds this')
    parser.add_argument('--task', help='only rows of this task: classification, detection, segmentation, generation')
    parser.add_argument('--method', help='only rows of this method')
    parser.add_argument('--out', default='work_dirs/benchmark', metavar='DIR', help='default: %(default)s')
    parser.add_argument('--list', action='store_true', help='say what would be evaluated, and stop')
    parser.add_argument('--no-eval', action='store_true', help="evaluate nothing: the cards' numbers stand, and say so")
    parser.add_argument('--latency', choices=['ours', 'all', 'none'], default='ours',
                        help="of which students: our checkpoints', also those that papers name (about a minute), or none")
    parser.add_argument('--threads', type=int, help='of the CPU, for scores and latency (default: all)')
    parser.add_argument('--offline', action='store_true', default=None, help='download no checkpoint')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override the configs')
    parser.add_argument('--readme', action='store_true', help="write README.md's results from the cards and sweeps, and stop")
    parser.add_argument('--check', action='store_true', help='with --readme: write nothing, fail if they are not up to date')
    args = parser.parse_args(given)
    if args.checkpoint and not args.config:
        parser.error('--checkpoint needs the --config of its run')
    if args.config and not args.checkpoint:
        parser.error('--config needs --checkpoint: what to evaluate')
    if args.config and args.cards is not None:
        parser.error('give --cards or --config, not both')
    if args.check and not args.readme:
        parser.error('--check goes with --readme')
    return args


def main(given: list[str] | None = None) -> int:
    """Write the report; 0, or 1 where the arguments are wrong or the README is not up to date."""
    args = arguments_of(given)
    from zoo.engine.launch import exit_status
    return exit_status(lambda: readme(args.check) if args.readme else report(args))


def readme(check: bool) -> int:
    from zoo import hub
    from zoo.tables.readme import results_section, stale, write_section
    own = {name: card.facts for name, card in hub.index(strict=True)[0].items() if card.path.parent == ROOT / 'model_cards'}
    section = results_section(own)
    if check:
        problem = stale(ROOT / 'README.md', section)
        print(f'README.md: {problem or "up to date"}')
        return 1 if problem else 0
    print('README.md: ' + ('written anew' if write_section(ROOT / 'README.md', section) else 'was up to date'))
    return 0


def subjects_of(args: argparse.Namespace) -> tuple[list, list[str]]:
    """What is asked for, and sentences about cards that cannot be read."""
    from zoo import hub
    from zoo.engine.benchmark import Subject, subject_of_checkpoint
    from zoo.tables.comparison import card_row, select
    notes = []
    if args.config:
        subjects = [subject_of_checkpoint(args.config, path) for path in args.checkpoint]
    else:
        every, errors = hub.index()
        facts = {name: card.facts for name, card in every.items()}
        notes = [str(error) for error in errors] if not args.cards else []
        cards = {name: hub.card(name) for name in args.cards} if args.cards else every
        subjects = [Subject(name, card_row(card.facts, name, facts), _config(card.zoo['config']),
                            lambda card=card: hub.fetch(card, offline=args.offline), card.zoo['build'],
                            card.zoo['preprocess'].get('input_shape')) for name, card in cards.items()]
    kept = [id(row) for row in select([s.row for s in subjects], task=args.task, dataset=args.dataset, method=args.method)]
    return [s for s in subjects if id(s.row) in kept], notes


def _config(config: str | None) -> str | None:
    """A card's config, which is named from the project's root."""
    return config if config is None or Path(config).is_file() else str(ROOT / config)


def report(args: argparse.Namespace) -> int:
    subjects, notes = subjects_of(args)
    if args.list:
        print('\t'.join(('name', 'task', 'data', 'method', 'where', 'config')))
        for subject in subjects:
            print('\t'.join((subject.name, *(subject.row[key] for key in ('task', 'dataset', 'method')), where(subject, args),
                             subject.config or 'none: cannot be evaluated')))
        for note in notes:
            print(f'note: {note}', file=sys.stderr)
        return 0
    import torch

    from zoo.engine.benchmark import benchmark, busy, machine, measured_students, papers_networks
    from zoo.tables.comparison import add_networks, compare, measured_table_rows, select
    from zoo.tables.page import write_report
    from zoo.tables.records import paper_rows
    if args.threads:
        torch.set_num_threads(args.threads)
    wanted = dict(task=args.task, dataset=args.dataset, method=args.method)
    found = benchmark(subjects, latency=args.latency != 'none', scores=not args.no_eval, options=args.cfg_options,
                      say=lambda text: print(text, flush=True))
    sweeps = select(measured_table_rows(), **wanted)
    print('measuring networks ...', flush=True)
    measured_students(sweeps, latency=args.latency != 'none')
    rows = compare(select(paper_rows(), **wanted), [*found.rows, *sweeps])
    add_networks(rows, papers_networks(rows, latency=args.latency == 'all'))
    notes = [*notes, *found.notes]
    if args.latency != 'none' and (load := busy()):
        notes.append(load)
    for note in notes:
        print(f'note: {note}')
    ours = sum(row['our_score'] is not None for row in rows)
    print(f'{len(rows)} rows, {ours} with a number of ours')
    for path in write_report(args.out, rows, machine(), notes):
        print(f'written {path}')
    return 0


def where(subject, args: argparse.Namespace) -> str:
    """Where a subject's file is: embedded, local, cached, remote; or missing."""
    from zoo import hub
    from zoo.hub.listing import where_is
    name = subject.name.removeprefix('zoo://')
    if not args.config or name != subject.name:
        return where_is(hub.card(name))
    return 'local' if Path(subject.name).is_file() else 'missing'


if __name__ == '__main__':
    sys.exit(main())
