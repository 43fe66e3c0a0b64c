"""One command that shows distillation at work, on data that comes with scikit-learn.

A teacher (ResNet-20) learns the handwritten digits from all training images. Then the same small student is trained twice
for each seed, on the same few images with the same labels, schedule and epochs: alone, on the labels only; and distilled, on
the labels and the teacher's softened outputs (KD, Hinton et al., arXiv:1503.02531). What is printed is what was measured.
"""
import contextlib
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.config import Config

from zoo.registry import DATASETS

from .budget import set_epochs
from .launch import prepare_config, test, train
from .plots import plot_curves

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'classification'
TEACHER = CONFIGS / 'vanilla' / 'resnet20_digits.py'
ALONE = CONFIGS / 'vanilla' / 'resnet8half_digits.py'
DISTILLED = CONFIGS / 'kd' / 'resnet20_resnet8half_digits.py'
#: Images, epochs, batch and learning rate of the students. The rate is the one of 0.05, 0.1, 0.2 and 0.4 at which the student
#: alone did best, which favours it: it had 86.8, 87.8, 89.4 and 89.1 % where the distilled one had 93.0, 92.9, 92.6 and 87.1 %
#: (means of 3, 6, 6 and 3 seeds). At small rates in few steps distillation wins by more, but partly because KD's term is
#: larger than cross-entropy, which acts as a larger rate. With 50 images (batch 16) it lost at 0.1 and 0.2.
IMAGES, EPOCHS, BATCH_SIZE, LEARNING_RATE = 100, 40, 32, 0.2
NAMES = {'teacher': 'teacher', 'alone': 'student alone', 'distilled': 'student distilled'}


def _config(path: Path, work_dir: Path, epochs: int, seed: int, options: dict | None) -> Config:
    config = set_epochs(Config.fromfile(path), epochs)
    return prepare_config(config, work_dir=str(work_dir), seed=seed, options=options)


def run_demo(out: str | Path = 'work_dirs/demo', *, seeds: Sequence[int] = (0, 1, 2, 3, 4), teacher_epochs: int = 8,
             epochs: int = EPOCHS, images: int = IMAGES, options: dict | None = None,
             say: Callable[[str], None] = print) -> dict:
    """Train the teacher, then for each seed the student alone and the student distilled.

    Args:
        out: folder of the runs; runs of an earlier demo in it are replaced.
        seeds: of the students; the teacher has seed 0.
        teacher_epochs, epochs: budgets of the teacher and of each student.
        images: that the students are trained on, a stratified subset; the teacher has all.
        options: overrides of all three configs by dotted names.
        say: gets one line a run.

    Raises:
        ValueError: for numbers of images or epochs that there are not.

    Returns:
        ``teacher`` (a record), ``alone`` and ``distilled`` (one record a seed, see :class:`zoo.engine.RecordHook`; those
        of ``alone`` with ``last['agreement']`` measured afterwards), ``seconds`` of everything.
    """
    out = Path(out)
    start = time.time()
    own = {'train_dataloader.dataset.subset': images, 'train_dataloader.batch_size': min(BATCH_SIZE, images),
           'optim_wrapper.optimizer.lr': LEARNING_RATE, 'train_cfg.val_interval': max(1, epochs // 10), **(options or {})}
    # a wrong number is told now, not after the teacher's training
    DATASETS.build(dict(_config(ALONE, out, epochs, 0, own).train_dataloader.dataset))
    for name in NAMES:
        shutil.rmtree(out / name, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    log = out / 'demo.log'
    with log.open('w') as file:
        def quietly(action, *arguments):
            with contextlib.redirect_stdout(file):
                return action(*arguments)

        say(f'1. The teacher learns the digits from all images, {teacher_epochs} epochs ... (all output: {log})')
        teacher = quietly(train, _config(TEACHER, out / 'teacher', teacher_epochs, 0, options))
        say(f'   top-1 {teacher["last"]["top1"]:.2f} %, {teacher["student_parameters"]:,} parameters, '
            f'{teacher["train_seconds"]:.0f} s')
        with_teacher = {**own, 'model.teacher.checkpoint': str(out / 'teacher' / 'student.safetensors')}
        say(f'2. The student, {images} of the images, {epochs} epochs, for each of the seeds {", ".join(map(str, seeds))} ...')
        records = dict(alone=[], distilled=[])
        for seed in seeds:
            folder = out / 'alone' / f'seed{seed}'
            record = quietly(train, _config(ALONE, folder, epochs, seed, own))
            beside = _config(DISTILLED, folder / 'agreement', epochs, seed, with_teacher)
            scores = quietly(test, beside, str(folder / 'student.safetensors'))
            record['last']['agreement'] = float(scores['agreement'])
            records['alone'].append(record)
            records['distilled'].append(quietly(
                train, _config(DISTILLED, out / 'distilled' / f'seed{seed}', epochs, seed, with_teacher)))
            say(f'   seed {seed}: alone {record["last"]["top1"]:.2f} %, '
                f'distilled {records["distilled"][-1]["last"]["top1"]:.2f} %')
    return dict(teacher=teacher, **records, seconds=time.time() - start)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """``mean ± standard deviation`` (of the sample), or the number alone."""
    text = f'{statistics.fmean(values):.{digits}f}'
    return text if len(values) < 2 else f'{text} ± {statistics.stdev(values):.{digits}f}'


def demo_rows(result: dict) -> list[dict[str, str]]:
    """The table of :func:`run_demo`'s result: a row a network, texts by column."""
    rows = []
    for key, name in NAMES.items():
        records = [result[key]] if key == 'teacher' else result[key]
        last = [r['last'] for r in records]
        rows.append({
            'network': name,
            'parameters': f'{records[0]["student_parameters"]:,}',
            'images': f'{records[0]["train_images"]:,}',
            'epochs': str(records[0]['epochs']),
            'top-1, last epoch (%)': spread([s['top1'] for s in last]),
            'top-1, best epoch (%)': spread([r['best']['top1'] for r in records]),
            'agreement with the teacher (%)': '' if key == 'teacher' else spread([s['agreement'] for s in last]),
            'training time (s)': spread([r['train_seconds'] for r in records], 1)})
    return rows


def verdict(result: dict) -> str:
    """One sentence: who won, by how much, over how many seeds; also where the student alone did."""
    pairs = [(d['last']['top1'], a['last']['top1']) for d, a in zip(result['distilled'], result['alone'])]
    gains = [d - a for d, a in pairs]
    gain, wins = statistics.fmean(gains), sum(g > 0 for g in gains)
    of = f'{len(gains)} seed{"s" * (len(gains) > 1)}'
    if gain > 0:
        return (f'The distilled student is {gain:.2f} points of accuracy above the student alone (mean of {of}; better '
                f'with {wins}).')
    if gain < 0:
        return (f'This time the student alone won: it is {-gain:.2f} points above the distilled one (mean of {of}; the '
                f'distilled one was better with {wins}).')
    return f'Both students have the same accuracy (mean of {of}).'


def demo_text(result: dict, rows: list[dict[str, str]]) -> str:
    """The page ``table.md``: what was done, the table, the verdict and the commands that do the same."""
    alone, teacher = result['alone'][0], result['teacher']
    seeds = ', '.join(str(r['seed']) for r in result['alone'])
    several = len(result['alone']) > 1
    columns = list(rows[0])
    table = '\n'.join(['| ' + ' | '.join(columns) + ' |', '|' + ' --- |' * len(columns),
                       *('| ' + ' | '.join(row.values()) + ' |' for row in rows)])
    kd = ', '.join(f'{k} {v}' for k, v in result['distilled'][0]['distillers'][0].items() if k != 'type')
    # measured at this budget only, see LEARNING_RATE
    tuned = ' The rate is, of four, the one at which the student alone did best.' \
        if (alone['train_images'], alone['epochs'], alone['batch_size']) == (IMAGES, EPOCHS, BATCH_SIZE) else ''
    return f"""# Demo: one student, alone and distilled

{verdict(result)}

{table}

Data: scikit-learn's digits. The teacher learned from {teacher['train_images']:,} labelled images; each student sees
{alone['train_images']} of them, the same ones, with their labels. There are 360 test images (one is 0.28 points).

Both students have the same architecture, seeds ({seeds}), batches of {alone['batch_size']}, learning rate and
{alone['epochs']} epochs.{tuned} The only difference is the loss: cross-entropy with the labels, or 0.1 of it plus KD
({kd}) under the teacher's outputs on the same images. Through these the distilled student learns,
at second hand, from the images that only the teacher saw.

{'± is the standard deviation over the seeds; the' if several else 'The'} teacher was trained once, with seed
{teacher['seed']}. The last epoch is the number; the best one is chosen on the test images and so too high.

Measured on {alone['hardware']}, torch {alone['torch']}, in {result['seconds']:.0f} s altogether, {alone['finished']}.
Curves: `curves.png`. The same step by step, but with the configs' own data (all images for
all three) and epochs:

    python tools/train.py configs/classification/vanilla/resnet20_digits.py
    python tools/train.py configs/classification/vanilla/resnet8half_digits.py
    python tools/train.py configs/classification/kd/resnet20_resnet8half_digits.py
"""


def write_demo(result: dict, out: str | Path) -> list[dict[str, str]]:
    """Write ``table.md`` and ``curves.png`` into ``out``; returns the table's rows."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    rows = demo_rows(result)
    (out / 'table.md').write_text(demo_text(result, rows), encoding='utf-8')
    plot_curves({NAMES[key]: [r['scores'] for r in ([result[key]] if key == 'teacher' else result[key])]
                 for key in NAMES}, out / 'curves.png', reference=NAMES['teacher'], zoom=25.0,
                title=f'Handwritten digits: one student on {result["alone"][0]["train_images"]} images, alone and distilled')
    return rows
