#!/usr/bin/env python3
"""List what the zoo holds: one line each, the name and what it is.

    python tools/list.py                          # the rooms and how much each holds
    python tools/list.py distillers               # all distillers with their papers
    python tools/list.py models 'resnet*'         # a glob, or a substring
    python tools/list.py models timm:vit_small    # timm's models
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from zoo import listing


def main(arguments: list[str] | None = None) -> int:
    """Print the list; the exit status is 0, 1 where nothing matches, 2 for an unknown room."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('room', nargs='?', help=', '.join(listing.ROOMS))
    parser.add_argument('pattern', nargs='?', help='glob or substring; timm:PATTERN for the models of timm')
    args = parser.parse_args(arguments)
    try:
        found = listing.entries(args.room, args.pattern) if args.room else listing.overview()
    except (KeyError, ValueError, ImportError) as error:
        parser.exit(2, f'{error}\n')
    try:
        sys.stdout.write(listing.render(found, rich_output=sys.stdout.isatty()) or '')
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stderr.close()
    return 0 if found else 1


if __name__ == '__main__':
    sys.exit(main())
