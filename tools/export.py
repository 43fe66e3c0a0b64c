#!/usr/bin/env python3
"""Export a released network to ONNX, TorchScript or torch.export, checked against the network.

    python tools/export.py resnet20_digits --format onnx                    # resnet20_digits.onnx, any batch size
    python tools/export.py work_dirs/.../student.safetensors --format torch.export --out net.pt2 --batch 1
    python tools/export.py NAME --format torchscript --preprocess           # takes pixels in 0..1, normalises by itself

The file is run on random inputs (ONNX by onnxruntime) of several batch sizes and not written where it differs.
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main(arguments: list[str] | None = None) -> int:
    """Export; 0 if the file was written, 1 with one sentence if not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', metavar='NAME|FILE')
    parser.add_argument('--format', choices=['onnx', 'torchscript', 'torch.export'], default='onnx')
    parser.add_argument('--out', help='default: the name and onnx, torchscript.pt or pt2, in the current folder')
    parser.add_argument('--batch', type=_batch, default=None, metavar='dynamic|N',
                        help='default: dynamic, any number of images')
    parser.add_argument('--shape', type=int, nargs=3, metavar=('C', 'H', 'W'), help="default: the network's own")
    parser.add_argument('--preprocess', action='store_true', help='put the normalisation into the file')
    parser.add_argument('--opset', type=int, help='of ONNX')
    parser.add_argument('--offline', action='store_true', default=None, help='touch no network')
    parser.add_argument('--trust-pickle', action='store_true', help='allow a file that can run code when it is opened')
    args = parser.parse_args(arguments)

    from zoo.engine.launch import exit_status
    from zoo.hub import export as exporting

    def work() -> None:
        net, name = exporting.open_network(args.source, offline=args.offline, trust_pickle=args.trust_pickle)
        out = args.out or f'{name}{exporting.ENDINGS[args.format]}'
        done = exporting.export(net, out, format=args.format, input_shape=args.shape, batch=args.batch,
                                preprocess=args.preprocess, opset=args.opset, metadata=dict(name=name))
        batches = ', '.join(map(str, done.batches))
        print(f'{done.path}: {done.path.stat().st_size:,} bytes; differs from the network by at most {done.difference:.1e} of '
              f'its largest output (batches of {batches})')

    return exit_status(work)


def _batch(text: str) -> int | None:
    if text == 'dynamic':
        return None
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'dynamic or a number of images, not {text!r}')
    return int(text)


if __name__ == '__main__':
    sys.exit(main())
