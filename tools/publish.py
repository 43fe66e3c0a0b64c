#!/usr/bin/env python3
"""Release the student of a finished run: safetensors with hashes, measured again, and its model card.

    python tools/publish.py work_dirs/classification/kd/X --name resnet8_cifar10_kd \
        --alone work_dirs/classification/vanilla/Y [MORE SEEDS] --also work_dirs/classification/kd/X_seed1
    python tools/publish.py WORK_DIR --name NAME --dest DIR          # card and file into a folder of yours
    python tools/publish.py WORK_DIR --name NAME --push owner/name   # and to the Hugging Face Hub

The file that is written is evaluated on the run's own validation set, and refused where its score is not the log's. float16
is taken where it costs nothing (both scores stand in the card). Files of at most 5 MB go into the package
(zoo/hub/weights), larger ones need --url, --push or --dest.
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main(arguments: list[str] | None = None) -> int:
    """Publish; 0 if it was released, 1 with one sentence if it was refused."""
    from mmengine.config import DictAction
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work_dir')
    parser.add_argument('--name', required=True, help='of the checkpoint: zoo.load(NAME)')
    parser.add_argument('--half', choices=['auto', 'yes', 'no'], default='auto',
                        help='float16 (default: where it costs nothing)')
    parser.add_argument('--alone', nargs='+', default=[], metavar='WORK_DIR',
                        help='runs of the student without a teacher, same budget, one or more seeds')
    parser.add_argument('--also', nargs='+', default=[], metavar='WORK_DIR', help='further seeds of the released run')
    parser.add_argument('--dest', help='folder for card and file (default: model_cards and zoo/hub/weights)')
    parser.add_argument('--url', action='append', default=[], help='where the file can be downloaded')
    parser.add_argument('--push', metavar='OWNER/NAME', help='upload to this repository of the Hugging Face Hub')
    parser.add_argument('--data-license', help='of the data (known data sets have a default)')
    parser.add_argument('--license', help='of the weights (default: apache-2.0, or cc-by-nc-4.0 as the data demand)')
    parser.add_argument('--title', help="the card's heading")
    parser.add_argument('--use', help='what it is for, after "For"')
    parser.add_argument('--limit', action='append', default=[], help='a known limit, one sentence')
    parser.add_argument('--pipeline-tag', help="Hugging Face's name of the task (default: from the config)")
    parser.add_argument('--teacher-score', type=float, help="where neither the teacher's card nor its record says it")
    parser.add_argument('--no-teacher-score', action='store_true', help='do not measure a teacher whose score nothing says')
    parser.add_argument('--config', help="the run's config (default: the one in WORK_DIR)")
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='override the config')
    parser.add_argument('--tolerance', type=float, default=None, help="of the score, relative to the log's (default: 0.001)")
    parser.add_argument('--force', action='store_true', help='replace a card of this name (its prose is kept)')
    args = parser.parse_args(arguments)

    from zoo.engine.launch import exit_status
    from zoo.hub import publish as publishing

    def work() -> None:
        if args.push:
            publishing.check_repository(args.push)
        urls = args.url + ([f'hf://{args.push}/{args.name}.safetensors'] if args.push else [])
        release = publishing.publish(
            args.work_dir, args.name, half=args.half, alone=args.alone, also=args.also, dest=args.dest, urls=urls,
            data_license_text=args.data_license, weights_license=args.license, title=args.title, use=args.use,
            limits=args.limit, pipeline_tag=args.pipeline_tag, config=args.config, options=args.cfg_options,
            tolerance=publishing.TOLERANCE if args.tolerance is None else args.tolerance, teacher_score=args.teacher_score,
            measure_teacher=not args.no_teacher_score, force=args.force)
        print(f'{release.card.path}\n{release.checkpoint}\n{release.card.zoo["verdict"]}')
        if args.push:
            print(publishing.push(release, args.push))

    return exit_status(work)


if __name__ == '__main__':
    sys.exit(main())
