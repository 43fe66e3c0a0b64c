#!/usr/bin/env python3
"""Get released checkpoints, or list what there is.

    python tools/download.py --list [--task classification] [--dataset digits] [--method kd] [--max-parameters 1M]
    python tools/download.py NAME... [--dest DIR] [--mirror URL_OR_FOLDER] [--offline]
    python tools/download.py --all

Sources in order: the package, local folders, http(s), the Hugging Face Hub. A broken transfer is continued; size and sha256
are those of the card, or the file is not kept. Proxies by the usual variables (https_proxy ...). ZOO_CACHE moves the cache,
ZOO_MIRROR adds mirrors, ZOO_CARDS folders of cards, ZOO_OFFLINE=1 is --offline.
"""
import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main(arguments: list[str] | None = None) -> int:
    """Download or list; 0, or 1 where something could not be had."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', metavar='NAME')
    parser.add_argument('--all', action='store_true', help='all that fit the filters')
    parser.add_argument('--list', action='store_true', help='list all that fit the filters')
    parser.add_argument('--task', help='such as classification, detection, segmentation')
    parser.add_argument('--dataset', help='a part of its name')
    parser.add_argument('--method', help="a distiller's slug, or none")
    parser.add_argument('--max-parameters', type=_number, metavar='N', help='such as 300000, 300k or 1.5M')
    parser.add_argument('--json', action='store_true', help='with --list: the index as JSON')
    parser.add_argument('--dest', help='a folder to put the files into (default: where they are, or the cache)')
    parser.add_argument('--mirror', action='append', default=[], metavar='URL',
                        help='http(s) address, hf://owner/repository, or a folder, tried before the addresses of the card')
    parser.add_argument('--offline', action='store_true', default=None, help='touch no network')
    parser.add_argument('--trust-pickle', action='store_true', help='allow files that can run code when they are opened')
    args = parser.parse_args(arguments)
    if not (args.names or args.all or args.list):
        parser.error('give a NAME, --all or --list')

    from zoo.hub import listing
    from zoo.registry import UnknownNameError
    try:
        cards = listing.chosen(args.names, task=args.task, dataset=args.dataset, method=args.method,
                               max_parameters=args.max_parameters)
        if args.list:
            print(listing.as_json(cards) if args.json else listing.as_table(cards, terminal=sys.stdout.isatty()), end='')
            return 0 if cards else 1
        failed = listing.fetch_all(cards, dest=args.dest, mirrors=args.mirror, offline=args.offline,
                                   trust_pickle=args.trust_pickle)
    except (UnknownNameError, ValueError) as error:
        if os.environ.get('ZOO_TRACEBACK'):
            raise
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 1 if failed or not cards else 0


def _number(text: str) -> float:
    scale = {'k': 1e3, 'm': 1e6, 'g': 1e9, 'b': 1e9}.get(text[-1:].lower(), 1)
    return float(text[:-1] if scale != 1 else text) * scale


if __name__ == '__main__':
    sys.exit(main())
