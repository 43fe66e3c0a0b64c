#!/usr/bin/env python3
"""Embed prompts by a pipeline's text encoder, once, for data-free distillation of a text-conditional model.

    python tools/embed_prompts.py stabilityai/stable-diffusion-2-1-base prompts.txt work_dirs/prompts.safetensors

prompts.txt: one prompt a line. Needs transformers beside diffusers. The file is what NoiseDataset(prompts=...) reads.
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('pipeline', help='folder or Hugging Face name')
    parser.add_argument('prompts', help='text file')
    parser.add_argument('out', type=Path)
    parser.add_argument('--negative', default='', help='negative prompt')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--batch-size', type=int, default=32)
    args = parser.parse_args()

    from zoo.engine.launch import exit_status
    from zoo.models.diffusers_model import embed_prompts, pipeline_encoder, read_prompts

    def work() -> None:
        prompts = read_prompts(args.prompts)
        path = embed_prompts(pipeline_encoder(args.pipeline, args.device), prompts, args.out, negative_prompt=args.negative,
                             batch_size=args.batch_size)
        print(f'{path}: {len(prompts)} prompts')

    return exit_status(work)


if __name__ == '__main__':
    sys.exit(main())
