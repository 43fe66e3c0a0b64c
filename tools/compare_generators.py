#!/usr/bin/env python3
"""Compare a diffusion teacher with its distilled students: one table, and one picture with the same noises through all.

    python tools/compare_generators.py --teacher CONFIG CHECKPOINT --teacher-steps 1 2 4 8 50 \\
        --student BOOT CONFIG CHECKPOINT 1 \\
        --student PD CONFIG 'work_dirs/.../student_{steps}_steps.safetensors' 1,2,4 \\
        --student CD CONFIG CHECKPOINT 1,2,4 --n 1000 --out work_dirs/diffusion/comparison

A student whose config has `collaboration` is drawn with its teacher. The judge is the val_evaluator of the teacher's config,
whose name the column of the Fréchet distance bears. Writes comparison.md, .csv, .json and comparison.png.
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--teacher', nargs=2, required=True, metavar=('CONFIG', 'CHECKPOINT'))
    parser.add_argument('--teacher-steps', type=int, nargs='+', default=[1, 2, 4, 8, 50])
    parser.add_argument('--teacher-guidance', type=float, help='default: none')
    parser.add_argument('--student', nargs=4, action='append', default=[], metavar=('NAME', 'CONFIG', 'CHECKPOINT', 'STEPS'),
                        help='STEPS with commas; {steps} in CHECKPOINT stands for them')
    parser.add_argument('--n', type=int, default=1000, help='images of each model')
    parser.add_argument('--real', type=int, help='real images (the first of the validation set); default: as many as --n')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--batch-size', type=int, default=100)
    parser.add_argument('--k', type=int, default=3, help='nearest neighbour of precision and recall')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/diffusion/comparison'))
    args = parser.parse_args()

    import functools

    from zoo.engine.hooks import environment
    from zoo.engine.launch import exit_status
    from zoo.engine.sample import (
        Generator,
        collaboration,
        compare,
        draw_grid,
        feature_network,
        reference_images,
        team_draw,
        write_comparison,
    )

    def work() -> None:
        teacher = Generator(*args.teacher)
        metric = teacher.config.val_evaluator
        real = reference_images(teacher.config, args.real or args.n)
        guided = '' if args.teacher_guidance in (None, 1) else f', guidance {args.teacher_guidance:g}'

        def entry(generator, steps, **settings):
            def draw(noise, labels, batch_size):
                return generator(noise, labels, steps=steps, seed=args.seed, batch_size=batch_size, **settings)
            return draw
        options = dict(sampler='ddim', guidance_scale=args.teacher_guidance)
        entries = [(f'teacher, DDIM{guided}', entry(teacher, steps, **options), steps) for steps in args.teacher_steps]
        for name, config, checkpoint, steps in args.student:
            for count in map(int, steps.split(',')):
                path = checkpoint.replace('{steps}', str(count))
                student = Generator(config, path)
                if student.config.get('collaboration'):
                    student, team, facts = collaboration(config, path, seed=args.seed)
                    entries.append((name, team_draw(team, facts, args.seed), facts['student_steps']))
                else:
                    entries.append((name, entry(student, count), count))
        noise, labels = teacher.noise(args.n, args.seed), teacher.labels(args.n)
        print(f'{len(entries)} rows of {args.n} images', flush=True)
        rows, pictures = compare(
            entries, feature_network(metric), real, noise, labels, batch_size=args.batch_size,
            told=functools.partial(lambda row: print(f'{row.title}: FID {row.fid:.4g}', flush=True)))
        facts = environment()
        text = write_comparison(rows, args.out, features=metric.name, facts={
            'images': args.n, 'real images': len(real), 'seed': args.seed, 'noise': 'the same for all rows',
            'hardware': f'{facts["hardware"]}, batch {args.batch_size}', 'torch': facts['torch'],
            'distance': f'of the pooled features of {metric.network}; comparable with no FID on Inception features'})
        draw_grid(pictures.flatten(0, 1), args.out / 'comparison.png', columns=pictures.shape[1],
                  rows=[row.title for row in rows])
        print(f'{text}\nwritten: {args.out}/comparison.md, .csv, .json and .png')

    return exit_status(work)


if __name__ == '__main__':
    sys.exit(main())
