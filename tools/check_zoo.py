#!/usr/bin/env python3
"""Check that the house holds together: sources, configs, golden cases, tables, the README's list, no dead files.

    python tools/check_zoo.py                       # all, with a training step of each config on synthetic data
    python tools/check_zoo.py --fix                 # write the README's list of distillers anew, then check
    python tools/check_zoo.py --configs '*/dkd/*'   # training steps of these configs alone
    python tools/check_zoo.py --no-steps            # without training steps: a few seconds

Prints one line per problem; the exit status is 1 if there is any.
"""
import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main(arguments: list[str] | None = None) -> int:
    """Run the checks; 0 if nothing is wrong, 1 otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--configs', metavar='PATTERN', help='glob or substring of the configs that take a step')
    parser.add_argument('--no-steps', action='store_true', help='leave the training steps out')
    parser.add_argument('--fix', action='store_true', help="write the README's list of distillers anew")
    parser.add_argument('--processes', type=int, default=min(2, os.cpu_count() or 1), help='for the steps (default: 2)')
    args = parser.parse_args(arguments)
    os.environ.setdefault('OMP_NUM_THREADS', '1')  # a step is tiny; threads would only wait for each other

    from zoo import checks
    start, count, seconds = time.perf_counter(), 0, {}
    if args.fix:
        try:
            print('README.md: ' + ('written anew' if checks.fix_readme() else 'was up to date'))
        except (FileNotFoundError, ValueError) as error:
            print(f'error: {error}', file=sys.stderr)
            return 1
    for problem in checks.check_all(pattern=args.configs, steps=not args.no_steps, processes=args.processes,
                                    seconds=seconds):
        print(problem, flush=True)
        count += 1
    slowest = sorted(seconds.items(), key=lambda item: -item[1])[:3]
    slowest = ', '.join(f'{path.relative_to(checks.ROOT)} {spent:.1f} s' for path, spent in slowest)
    print(f'{len(checks.registered_methods())} distillers, {len(seconds)} configs tried, {count} problems, '
          f'{time.perf_counter() - start:.0f} s' + (f' (slowest: {slowest})' if slowest else ''))
    return 1 if count else 0


if __name__ == '__main__':
    sys.exit(main())
