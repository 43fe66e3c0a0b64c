"""The table of a sweep: from the runs' records to Markdown, CSV, a picture and rows for ``zoo/tables/measured``."""
import csv
import importlib
import io
import json
import math
import re
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from zoo.names import architecture
from zoo.tables.records import higher_is_better

from .plots import plot_bars
from .sweep import NONE, OWN_TEACHERS, Method

MEGABYTE = 1e6
BELOW = '▼'
#: the title of a score's column, and of its axis, where it is not the score's own name
TITLES = {'top1': 'top-1'}


def paper_of(slug: str) -> tuple[str, int | None]:
    """``('CVPR 2022, arXiv:2203.08679', 2022)`` of a method: from the papers' tables, else its module's docstring."""
    from zoo.distillers import METHODS
    from zoo.tables import load_paper_table, paper_table_names
    if slug in paper_table_names() and load_paper_table(slug).get('paper'):
        paper = load_paper_table(slug)['paper']
        venue = str(paper['year']) if paper['venue'].lower() == 'arxiv' else f'{paper["venue"]} {paper["year"]}'
        return venue + (f', arXiv:{paper["arxiv"]}' if paper['arxiv'] else ''), paper['year']
    if slug not in METHODS:
        return '', None
    text = importlib.import_module(METHODS[slug]).__doc__ or ''
    arxiv = re.search(r'arXiv:(\d{2})(\d{2}\.\d{4,5})', text)
    # the year of publication stands after the venue; a number in a commit or an arXiv identifier is none
    year = re.search(r'(?<![\w.:@])((?:19|20)\d\d)(?![\w.])', re.sub(r'arXiv:[\d.]+', '', text))
    number = int(year[1]) if year else 2000 + int(arxiv[1]) if arxiv else None
    return ', '.join(str(p) for p in (number, arxiv[0] if arxiv else None) if p), number


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _std(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def summarise(found: dict[str, dict], seeds: Sequence[int]) -> list[dict]:
    """One row a method, best last epoch first; methods without a finished run at the end.

    Args:
        found: of :func:`zoo.engine.sweep.collect`.
        seeds: that were asked for.

    Returns:
        Rows with ``method``, ``slug``, ``paper``, ``year``, ``n`` (finished runs), ``last``, ``last_std``, ``best``,
        ``best_std``, ``difference`` to the student alone (mean over the seeds that both have finished), its
        ``difference_std`` and ``pairs``, ``agreement``, ``agreement_std`` (percent), ``seconds_per_epoch``,
        ``extra_megabytes`` over the student alone, ``below`` (whether it is worse than the student alone), ``failed`` and
        ``unfinished`` (seeds). Standard deviations are of the sample; None where there is nothing to tell.
    """
    alone = found.get(NONE, {}).get('records', {})
    monitor = next((r['monitor'] for entry in found.values() for r in entry['records'].values()), '')
    sign = 1 if higher_is_better(monitor) else -1

    def last(record: dict) -> float:
        return record['last'][record['monitor']]

    rows = []
    for label, entry in found.items():
        records = entry['records']
        lasts = [last(r) for r in records.values()]
        bests = [r['best'][r['monitor']] for r in records.values()]
        gains = [last(r) - last(alone[seed]) for seed, r in records.items() if seed in alone] if label != NONE else []
        extra = [r['peak_memory_bytes'] - alone[seed]['peak_memory_bytes'] for seed, r in records.items() if seed in alone]
        agreements = [r['last']['agreement'] for r in records.values() if r['last'].get('agreement') is not None]
        paper, year = paper_of(entry['slug'])
        difference = _mean(gains)
        rows.append(dict(
            method=label, slug=entry['slug'], paper=paper, year=year, n=len(records),
            last=_mean(lasts), last_std=_std(lasts), best=_mean(bests), best_std=_std(bests),
            difference=difference, difference_std=_std(gains), pairs=len(gains),
            agreement=_mean(agreements), agreement_std=_std(agreements),
            seconds_per_epoch=_mean([r['train_seconds'] / r['epochs'] for r in records.values()]),
            extra_megabytes=_mean(extra) / MEGABYTE if extra and label != NONE else None,
            below=difference is not None and sign * difference < 0,
            failed=sorted(entry['errors']),
            unfinished=sorted(set(seeds) - set(records) - set(entry['errors']))))
    return sorted(rows, key=lambda r: -math.inf if r['last'] is None else sign * r['last'], reverse=True)


def dataset_size(loader: dict) -> int:
    """Images of a loader's data set."""
    from zoo.registry import DATASETS
    return len(DATASETS.build(dict(loader['dataset'])))


def network_name(config: dict) -> str:
    """A network in words: its type and what else decides its shape; of mmdet's and mmseg's long configs the name."""
    if 'model' in config or 'config' in config:
        return architecture(config)
    said = [f'{k}={v}' for k, v in config.items()
            if k not in ('type', 'checkpoint', 'pretrained', 'untrained', 'num_classes')]
    return config['type'] + (f' ({", ".join(said)})' if said else '')


def schedule_name(config: Config) -> str:
    """Optimiser, learning rate, weight decay and the schedulers' names, in words."""
    optimizer = config.optim_wrapper.optimizer
    said = [f'{key.replace("_", " ")} {optimizer[key]}' for key in ('momentum', 'weight_decay') if optimizer.get(key)]
    schedulers = config.get('param_scheduler') or []
    schedulers = schedulers if isinstance(schedulers, list) else [schedulers]
    return (f'{optimizer.type}, lr {optimizer.lr:g}' + ''.join(f', {s}' for s in said)
            + (f'; {" then ".join(s["type"] for s in schedulers)}' if schedulers else '; constant learning rate'))


def facts_of(base: Config, found: dict[str, dict], teacher: dict, seeds: Sequence[int], *, command: str, base_path: str,
             methods: Sequence[Method], without: Sequence[str] = (), processes: int = 1,
             scale_epochs: bool = True) -> dict:
    """What the numbers of the table depend on, as plain data.

    Args:
        base: of :func:`zoo.engine.sweep.load_base`.
        found: of :func:`zoo.engine.sweep.collect`.
        teacher: of :func:`zoo.engine.sweep.measure_teacher`.
        seeds: that were asked for.
        command, base_path: as typed.
        methods: of the sweep.
        without: slugs left out for want of a config.
        processes: that ran at the same time.
        scale_epochs: whether options in epochs were scaled.
    """
    records = [r for entry in found.values() for r in entry['records'].values()]
    one = records[0] if records else {}
    subset = base.train_dataloader.dataset.get('subset')
    monitor = one.get('monitor', 'top1')
    tested = base.get('test_dataloader')
    return dict(
        task=base.task.type.lower(),
        data=base.get('dataset_name') or one.get('data', ''), subset=subset,
        train_images=one.get('train_images') or dataset_size(base.train_dataloader),
        test_images=dataset_size(base.val_dataloader),
        scored_on='test' if tested is None or tested.dataset == base.val_dataloader.dataset else 'validation',
        teacher=network_name(base.model.teacher), teacher_type=architecture(base.model.teacher),
        teacher_parameters=teacher['parameters'], teacher_score=teacher.get(monitor),
        student=network_name(base.model.student), student_type=architecture(base.model.student),
        # that of the student alone: some methods change the student (a new head)
        student_parameters=next((r['student_parameters'] for r in found.get(NONE, {}).get('records', {}).values()),
                                one.get('student_parameters')),
        epochs=base.train_cfg.max_epochs, seeds=list(seeds), batch_size=base.train_dataloader.batch_size,
        recipe=schedule_name(base), amp=base.optim_wrapper.get('amp', 'off'), monitor=monitor,
        hardware=sorted({r['hardware'] for r in records}), processes=processes,
        torch=sorted({r['torch'] for r in records}), zoo=sorted({r['zoo'] for r in records}),
        finished=max((r['finished'] for r in records), default=''), command=command, base=base_path,
        configs={m.label: m.config.name for m in methods if m.config is not None}, without_config=list(without),
        own_teachers={label: architecture(r['teacher']) for label, entry in found.items()
                      for r in entry['records'].values() if (r.get('teacher') or {}).get('type') in OWN_TEACHERS},
        scale_epochs=scale_epochs)


def _pm(mean: float | None, std: float | None, digits: int = 2, sign: bool = False) -> str:
    if mean is None:
        return ''
    text = f'{mean:{"+" if sign else ""}.{digits}f}'
    return text if std is None else f'{text} ± {std:.{digits}f}'


def _digits(*scores: float | None) -> int:
    """Two decimals, of fractions four."""
    return 2 if any(score is not None and abs(score) > 1 for score in scores) else 4


def to_markdown(rows: Sequence[dict], facts: dict, errors: dict[str, dict[int, str]] | None = None) -> str:
    """The page ``table.md``.

    Args:
        rows: of :func:`summarise`.
        facts: of :func:`facts_of`.
        errors: by method and seed, the sentence of a failed run.
    """
    subset = ' (a stratified subset)' if facts['subset'] else ''
    title, images = TITLES.get(facts['monitor'], facts['monitor']), f'{facts["scored_on"]} images'
    percent = ' (%)' if facts['monitor'] == 'top1' else ''
    digits = _digits(facts['teacher_score'], *(row['last'] for row in rows))
    own = f', {title} {facts["teacher_score"]:.{digits}f} on these {images}' if facts['teacher_score'] is not None else \
        ', untrained'
    agreeing = any(row['agreement'] is not None for row in rows)
    counts = sorted({row['n'] for row in rows})
    scaled = ('Options that count epochs (a warm-up, a curriculum) are scaled to this budget: they keep the share of the run '
              'that they have in the method\'s own config.' if facts['scale_epochs'] else
              'Options that count epochs (a warm-up, a curriculum) are those of the method\'s own config, meant for its own, '
              'longer run.')
    hardware = '; '.join(facts['hardware'])
    many = f', {facts["processes"]} processes at a time' if facts['processes'] > 1 else ''
    lines = [
        f'# Sweep: {facts["teacher_type"]} to {facts["student_type"]} on {facts["data"]}', '',
        f'- Data: {facts["data"]}, {facts["train_images"]:,} training images{subset}, '
        f'{facts["test_images"]:,} {images}.',
        f'- Teacher: {facts["teacher"]}, {facts["teacher_parameters"]:,} parameters{own}.',
        f'- Student: {facts["student"]}' + (f', {facts["student_parameters"]:,} parameters.'
                                            if facts['student_parameters'] else '.'),
        f'- Budget: {facts["epochs"]} epochs, batch {facts["batch_size"]}, {facts["recipe"]}, mixed precision '
        f'{facts["amp"]}; seeds {", ".join(map(str, facts["seeds"]))}.',
        '- One recipe for all: from a method\'s own config come its losses, their weights and the views they read; not its '
        f'learning rate, batch or epochs, and nothing was tuned for this pair. {scaled}',
        '- Losses differ in size, and with one learning rate for all a larger loss takes larger steps: in a short run a part '
        'of a difference can come from that alone. Compare sweeps at several learning rates before crediting a method.',
        f'- The last epoch is the number. The best epoch is chosen on the {images}, and so too high. ± is the sample '
        f'standard deviation over the seeds{"" if counts == [len(facts["seeds"])] else " that finished (n)"}.',
        f'- `{NONE}` is the student alone, on labels. Δ: the mean of the differences to it, seed by seed; {BELOW} marks '
        'a method that is worse.'
        + (f' Agreement: share of {images} on which student and teacher choose the same class.' if agreeing else ''),
        '- Time per epoch is training alone, without evaluation'
        + ('; the processes share the machine' if facts['processes'] > 1 else '')
        + '. Memory: peak above that of the student alone (device memory on CUDA, resident memory of the process on a CPU), '
        'teacher included.',
        f'- Hardware: {hardware or "no run finished"}{many}; torch {", ".join(facts["torch"]) or "?"}; '
        f'{facts["finished"] or "no run finished"}.',
        '', '```', facts['command'], '```', '',
        f'| method | paper | n | {title} last{percent} | {title} best{percent} | Δ to none |'
        f'{" agreement (%) |" * agreeing} s / epoch | extra MB | failed |',
        '| --- | --- |' + ' ---: |' * (7 + agreeing)]
    for row in rows:
        seconds = '' if row['seconds_per_epoch'] is None else f'{row["seconds_per_epoch"]:.3g}'
        megabytes = '' if row['extra_megabytes'] is None else f'{row["extra_megabytes"]:+.0f}'
        name = f'**{row["method"]}**' if row['method'] == NONE else f'{row["method"]}{f" {BELOW}" if row["below"] else ""}'
        trouble = str(len(row['failed'])) if row['failed'] else ''
        if row['unfinished']:
            trouble += f'{"; " if trouble else ""}{len(row["unfinished"])} not run to the end'
        cells = (name, row['paper'], str(row['n']), _pm(row['last'], row['last_std'], digits),
                 _pm(row['best'], row['best_std'], digits), _pm(row['difference'], row['difference_std'], digits, sign=True),
                 *([_pm(row['agreement'], row['agreement_std'])] if agreeing else []), seconds, megabytes, trouble)
        lines.append('| ' + ' | '.join(cell.replace('|', r'\|') for cell in cells) + ' |')
    told = [(label, seed, text) for label, by_seed in (errors or {}).items() for seed, text in sorted(by_seed.items())]
    if told:
        lines += ['', 'Failed runs:', '']
        lines += [f'- {label}, seed {seed}: {" ".join(text.split())}' for label, seed, text in told]
    lines += ['', *(f'{label} has a teacher of its own: {name}.' for label, name in facts['own_teachers'].items())] \
        if facts['own_teachers'] else []
    if facts['without_config']:
        lines += ['', f'Left out, since they have no config: {", ".join(facts["without_config"])}.']
    if facts['configs']:
        lines += ['', 'Losses from: ' + ', '.join(f'{label} `{name}`' for label, name in facts['configs'].items()) + '.']
    return '\n'.join(lines) + '\n'


CSV_COLUMNS = ('method', 'slug', 'paper', 'year', 'n', 'last', 'last_std', 'best', 'best_std', 'difference', 'difference_std',
               'pairs', 'agreement', 'agreement_std', 'seconds_per_epoch', 'extra_megabytes', 'below', 'failed', 'unfinished')


def to_csv(rows: Sequence[dict]) -> str:
    """The rows of :func:`summarise`, unrounded; lists of seeds are separated by blanks."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator='\n')
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        values = (row[column] for column in CSV_COLUMNS)
        writer.writerow(['' if v is None else ' '.join(map(str, v)) if isinstance(v, list) else str(v).lower()
                         if isinstance(v, bool) else v for v in values])
    return out.getvalue()


def measured_results(found: dict[str, dict], facts: dict, source: str) -> dict:
    """``results.json``: one row a method and metric, as :func:`zoo.tables.measured_rows` reads them.

    Args:
        found: of :func:`zoo.engine.sweep.collect`.
        facts: of :func:`facts_of`.
        source: where the runs' records lie.
    """
    # a part of a data set is another task than the whole, and must not meet its numbers in a table
    data = f'{facts["data"]} ({facts["train_images"]:,} training images)' if facts['subset'] else facts['data']
    results = []
    alone = found.get(NONE, {}).get('records', {})
    for label, entry in found.items():
        records = entry['records']
        shared = [alone[seed]['last'] for seed in records if seed in alone] if label != NONE else []
        metrics = dict.fromkeys(key for record in records.values() for key, value in record['last'].items()
                                if isinstance(value, (int, float)) and key not in ('epoch', 'iteration'))
        for metric in metrics:
            values = [r['last'][metric] for r in records.values()
                      if r['last'].get(metric) is not None and math.isfinite(r['last'][metric])]
            if not values:
                continue
            bests = [r['best'][metric] for r in records.values() if metric in r['best']]
            baseline = _mean([last[metric] for last in shared if last.get(metric) is not None])  # of the same seeds
            results.append(dict(
                method=label, task=facts['task'], dataset=data, metric=metric, teacher=facts['teacher_type'],
                student=facts['student_type'], score=_mean(values), std=_std(values), n=len(values),
                seeds=[seed for seed, r in records.items() if r['last'].get(metric) is not None],
                epoch='last', epochs=facts['epochs'], best_score=_mean(bests) if metric == facts['monitor'] else None,
                **({'variant': f'teacher: {facts["own_teachers"][label]}'} if label in facts['own_teachers'] else {}),
                **({} if baseline is None else {'student_baseline': baseline}),
                failed=len(entry['errors']), train_images=facts['train_images'], test_images=facts['test_images'],
                source=source))
    return dict(facts=facts, results=results)


def write_tables(out: str | Path, found: dict[str, dict], facts: dict) -> list[dict]:
    """Write ``table.md``, ``table.csv``, ``table.png`` (if a run has finished) and ``results.json``; returns the rows."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    rows = summarise(found, facts['seeds'])
    errors = {label: entry['errors'] for label, entry in found.items() if entry['errors']}
    (out / 'table.md').write_text(to_markdown(rows, facts, errors), encoding='utf-8')
    (out / 'table.csv').write_text(to_csv(rows), encoding='utf-8')
    results = measured_results(found, facts, f'{out.as_posix()}/<method>/seed<k>/record.json, by tools/sweep.py')
    (out / 'results.json').write_text(json.dumps(results, indent=2) + '\n', encoding='utf-8')
    bars = [row for row in rows if row['last'] is not None]
    if bars:
        alone = next((row['last'] for row in bars if row['method'] == NONE), None)
        shown = [row for row in bars if row['method'] != NONE] or bars
        points = [[r['last'][r['monitor']] for r in found[row['method']]['records'].values()] for row in shown]
        of_one = _digits(*(row['last'] for row in shown)) == 4  # fractions are drawn in percent

        def drawn(value: float | None) -> float | None:
            return None if value is None else 100 * value if of_one else value
        plot_bars([row['method'] for row in shown], [drawn(row['last']) for row in shown],
                  [drawn(row['last_std']) for row in shown], out / 'table.png', baseline=drawn(alone),
                  baseline_name=f'{NONE} (student alone)', points=[[drawn(value) for value in values] for values in points],
                  teacher=drawn(facts['teacher_score']),
                  xlabel=f'{TITLES.get(facts["monitor"], facts["monitor"])}, {facts["scored_on"]} images'
                         + (' (%)' if of_one or facts['monitor'] == 'top1' else ''),
                  title=f'{facts["teacher_type"]} to {facts["student_type"]}, {facts["data"]}, '
                        f'{facts["train_images"]:,} images, {facts["epochs"]} epochs, '
                        f'{len(facts["seeds"])} seed{"s" * (len(facts["seeds"]) > 1)}')
    return rows


def commit_tables(out: str | Path, name: str, folder: str | Path | None = None) -> list[Path]:
    """Copy a sweep's files to ``zoo/tables/measured/<name>.*``; returns the copies.

    Raises:
        ValueError: for a name that is no file name, or a sweep without a finished run.
        zoo.tables.TableError: if the results do not hold to the schema.
    """
    from zoo.tables import validate_measured
    if not re.fullmatch(r'[A-Za-z0-9][\w.-]*', name):
        raise ValueError(f'{name!r} is no name for a table: use letters, digits, ".", "_" and "-".')
    out = Path(out)
    results = json.loads((out / 'results.json').read_text(encoding='utf-8'))
    validate_measured(results, 'results.json')
    if not results['results']:
        raise ValueError(f'No run of {out} has finished, so there is nothing to file.')
    folder = Path(folder) if folder else Path(__file__).resolve().parents[1] / 'tables' / 'measured'
    folder.mkdir(parents=True, exist_ok=True)
    copies = []
    for source, suffix in (('results.json', '.json'), ('table.md', '.md'), ('table.csv', '.csv'), ('table.png', '.png')):
        if (out / source).is_file():
            copies.append(Path(shutil.copyfile(out / source, folder / f'{name}{suffix}')))
    return copies
