"""Our results laid beside the papers': one row a result, numbers of theirs and of ours in columns of their own.

A difference is given only where task, data set, metric, method, teacher, student and variant are the same; otherwise a
column says in what the nearest row of a paper differs.
"""
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from zoo.names import architecture
from zoo.tables.records import higher_is_better, measured_rows, name_key
from zoo.tables.render import to_csv, to_markdown

#: how one of our numbers came about
EVALUATED, FROM_CARD, SWEEP, FILED = ('evaluated here', 'from the card, not re-evaluated', 'sweep of several seeds',
                                      'measured table')
#: every column of the comparison, in order, and what it holds; empty where unknown
COLUMNS: dict[str, str] = {
    'task': 'classification, detection, segmentation, generation …',
    'dataset': 'the data set that was tested on; a part of a data set says how many training images',
    'metric': 'what the scores are; accuracies, mAP and mIoU in percent',
    'better': 'higher or lower',
    'method': "the distiller's slug as in configs/, or the name in the paper's table; none: the student alone",
    'variant': "what else tells the paper's row from others of its method",
    'teacher': "the teacher's architecture",
    'student': "the student's architecture",
    'paper_score': "the paper's number, or its text",
    'verified': "whether the paper's number was read in a document (false: from memory)",
    'paper_teacher_score': "the teacher's score in the paper",
    'paper_alone': "the student's score without a teacher, in the paper",
    'paper_epochs': 'in the paper',
    'paper': 'title, venue and year; empty for rows of collections',
    'arxiv': 'identifier of the paper',
    'paper_source': 'the document that the number was taken from',
    'table': 'file in zoo/tables/papers',
    'our_score': "what we measured, at the last epoch: a released file's own score, or the mean over the runs of a sweep",
    'our_std': 'sample standard deviation over runs',
    'our_runs': 'number of runs that finished',
    'our_failed': 'number of runs that did not (diverged)',
    'our_seeds': 'their seeds',
    'our_last': "the last epoch's score in the run's own log (checkpoints)",
    'our_best': 'of the best epoch, chosen on the test images and so too high',
    'our_teacher_score': "our teacher's score on the same test set",
    'our_alone': 'our student without a teacher, same budget',
    'our_gain': 'what distillation gained over our_alone, in the direction that is better; of a checkpoint with several seeds, '
                'the difference of the means',
    'our_epochs': 'of our runs',
    'how': f'{EVALUATED} | {FROM_CARD} | {SWEEP} | {FILED}',
    'checkpoint': 'name of the released checkpoint, or file',
    'our_source': 'record or file that our number comes from',
    'delta': 'our_score less paper_score; only where data set, pair and variant are the same',
    'same_data': "whether the data set is that of the paper's row, or of the nearest row of the method",
    'same_teacher': "whether its teacher is ours: same architecture and, within 0.05, the same score; empty if unknown",
    'differs': "in what our run differs from the paper's row, or from the nearest row of its method (whose value is given)",
    'parameters': "of the student",
    'parameters_of': "checkpoint, or: the zoo's network of this name",
    'flops': 'of one image, two for each multiplication with addition, by torch.utils.flop_counter',
    'latency_ms': 'median for one image on the machine of the report, in milliseconds',
    'input_shape': 'channels, height, width that flops and latency were measured with',
}
#: keys of a paper's row that tell it from others of its method
VARIANTS = ('variant', 'setting', 'ablation', 'sampler', 'nfe', 'trigger', 'detector', 'alpha', 'steps', 'images', 'assistant',
            'reimplementation')
#: keys that are shown with them, and decide nothing
REMARKS = ('resolution', 'iterations', 'note')
TASKS = {'image-classification': 'classification', 'object-detection': 'detection', 'image-segmentation': 'segmentation',
         'image-feature-extraction': 'masked images', 'unconditional-image-generation': 'generation',
         'text-to-image': 'generation', 'image-to-image': 'generation'}
ORDER = ('classification', 'detection', 'segmentation', 'generation')
#: scores of two teachers of one architecture that differ by more are of other weights
SAME_SCORE = 0.05


# ---- our rows

def measured_table_rows(folder: str | Path | None = None, *, all_metrics: bool = False) -> list[dict]:
    """The rows of ``zoo/tables/measured`` as our rows, each with its student alone.

    Args:
        folder: as in :func:`zoo.tables.measured_rows`.
        all_metrics: also those that a sweep does not monitor (top-5, calibration, agreement …); of a file that does not say
            which it monitors, the first of each task counts.
    """
    rows = measured_rows(folder)
    alone = {_budget(row): row['score'] for row in rows if row['method'] == 'none'}
    first: dict[tuple, str] = {}
    found = []
    for row in rows:
        facts = row.get('facts') or {}
        monitor = facts.get('monitor') or first.setdefault((row['table'], row['task']), row['metric'])
        if not all_metrics and row['metric'] != monitor:
            continue
        # 'nd:kdpp': the losses are those of the config nd/*_kdpp.py
        method, _, config = row['method'].partition(':')
        notes = [f'config {config}'] * bool(config)
        if facts.get('scored_on', 'test') != 'test':
            notes.append(f'scored on the {facts["scored_on"]} images')
        found.append(dict(
            origin='measured', how=SWEEP if facts else FILED, task=row['task'], dataset=row['dataset'], metric=row['metric'],
            method=method, variant=row.get('variant'), note='; '.join(notes) or None, teacher=row.get('teacher'),
            student=row.get('student'), score=row['score'], std=row.get('std'), runs=row.get('n', 1), failed=row.get('failed'),
            seeds=row.get('seeds'), best_score=row.get('best_score'),
            teacher_score=row.get('teacher_score', facts.get('teacher_score') if row['metric'] == monitor else None),
            alone=row.get('student_baseline', alone.get(_budget(row)) if method != 'none' else None),
            epochs=row.get('epochs'), parameters=row.get('parameters', facts.get('student_parameters')),
            config=facts.get('base'), source=row['table'], table=row['table']))
    return found


def _budget(row: Mapping) -> tuple:
    return tuple(row.get(k) for k in ('table', 'task', 'dataset', 'metric', 'teacher', 'student', 'epochs'))


def card_row(facts: Mapping, name: str, others: Mapping[str, Mapping] | None = None) -> dict:
    """The front matter of a model card as one of our rows; its score is what the card says.

    Args:
        facts: checked front matter, see ``zoo.hub.cards``.
        name: the checkpoint's.
        others: front matter of other cards by name, which tell the architecture of a teacher that is one of them.
    """
    own = facts['zoo']
    methods = [own['method']] if isinstance(own['method'], str) else list(own['method'])
    teacher = (own.get('teachers') or [{}])[0]
    taught_by = str(teacher.get('checkpoint') or '').removeprefix('zoo://')
    if taught_by in (others or {}):
        teacher = {**teacher, 'name': architecture(others[taught_by]['zoo']['build'])}
    last, monitor = own['last'], own['monitor']
    alone = own.get('alone') or {}
    gain = alone.get('difference')
    if gain is not None and not higher_is_better(monitor):
        gain = -gain
    result = facts['model-index'][0]['results'][0]
    split = (result.get('dataset') or {}).get('split', 'test')
    return dict(
        origin='measured', how=FROM_CARD, checkpoint=name, task=TASKS.get(facts['pipeline_tag'], facts['pipeline_tag']),
        dataset=own['data']['name'], metric=monitor, method='+'.join(methods), split=split,
        note=None if split == 'test' else f'scored on the {split} images',
        teacher=teacher.get('name'), student=architecture(own.get('build') or name),
        score=result['metrics'][0]['value'], std=None, runs=1, seeds=list(own['seeds'])[:1],
        last_score=last.get(monitor), best_score=own['best'].get(monitor), teacher_score=teacher.get('score'),
        alone=alone.get('mean'), gain=gain, epochs=own['epochs'], parameters=own['parameters'], config=own.get('config'),
        bytes=own['files'][0].get('bytes'), dtype=own['files'][0].get('dtype'), verdict=own.get('verdict'),
        source=f'model_cards/{name}.md')


# ---- laying side by side

#: metrics by other names
METRICS = {'bboxmap': 'map', 'boxap': 'map', 'bboxmap50': 'map50', 'bboxmap75': 'map75', 'segmmap': 'maskmap'}


def _metric(name: str) -> str:
    key = name_key(name.rpartition('/')[2])
    return METRICS.get(key, key)


def _fraction(our: object, paper: object) -> bool:
    """Whether ours is in 0..1 and the paper's in percent."""
    return _number(our) and _number(paper) and 0 <= our <= 1 < 2 < paper


def _variant(row: Mapping) -> str:
    return '; '.join(str(row[key]) if key in ('variant', 'setting') else f'{key} {row[key]}'
                     for key in VARIANTS if row.get(key) is not None)


def _shown_variant(row: Mapping) -> str | None:
    texts = [_variant(row), *(f'{row[key]}' if key == 'note' else f'{key} {row[key]}'
                              for key in REMARKS if row.get(key) is not None)]
    return '; '.join(text for text in texts if text) or None


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _same_teacher(our: Mapping, paper: Mapping) -> bool | None:
    if name_key(our.get('teacher')) != name_key(paper.get('teacher')):
        return False
    if not our.get('teacher') or name_key(our['dataset']) != name_key(paper['dataset']):
        return None
    scores = our.get('teacher_score'), paper.get('teacher_score')
    return abs(scores[0] - scores[1]) <= SAME_SCORE if all(map(_number, scores)) else None


def differences(our: Mapping, paper: Mapping) -> list[str]:
    """In what one of our runs differs from a paper's: ``kind (the paper's value)``, in the order data, teacher, student,
    variant, recipe; empty where nothing known does."""
    found = []
    if name_key(our['dataset']) != name_key(paper['dataset']):
        found.append(f'data ({paper["dataset"]})')
    for role in ('teacher', 'student'):
        if name_key(our.get(role)) != name_key(paper.get(role)):
            found.append(f'{role} ({paper.get(role) or "none"})')
        elif role == 'teacher' and _same_teacher(our, paper) is False:
            found.append(f"teacher's weights ({paper['teacher_score']:g} in the paper, {our['teacher_score']:g} here)")
    if name_key(_variant(our)) != name_key(_variant(paper)):
        found.append(f'variant ({_variant(paper) or "plain"})')
    if our.get('epochs') is not None and paper.get('epochs') is not None and our['epochs'] != paper['epochs']:
        found.append(f'recipe ({paper["epochs"]} epochs)')
    return found


def _comparable(our: Mapping, paper: Mapping) -> bool:
    return all(name_key(our.get(k)) == name_key(paper.get(k)) for k in ('task', 'dataset', 'method', 'teacher', 'student')) \
        and _metric(our['metric']) == _metric(paper['metric']) and name_key(_variant(our)) == name_key(_variant(paper))


def _nearest(our: Mapping, papers: Iterable[dict]) -> dict | None:
    """The paper's row of the same task, metric and method with the fewest differences; the first of several."""
    rows = [row for row in papers if _metric(our['metric']) == _metric(row['metric'])
            and all(name_key(our[k]) == name_key(row[k]) for k in ('task', 'method'))]

    def distance(row: dict) -> tuple:
        unlike = [name_key(our.get(k)) != name_key(row.get(k)) for k in ('dataset', 'teacher', 'student')]
        return sum(unlike), unlike, name_key(_variant(our)) != name_key(_variant(row)), not row['verified']
    return min(rows, key=distance, default=None)


def _head(row: Mapping) -> dict:
    head = dict.fromkeys(COLUMNS)
    head.update({k: row.get(k) for k in ('task', 'dataset', 'metric', 'method', 'teacher', 'student')},
                variant=_shown_variant(row), better='higher' if higher_is_better(row['metric']) else 'lower')
    return head


def _theirs(row: Mapping) -> dict:
    paper = row.get('paper') or {}
    return dict(
        paper_score=row['score'], verified=row['verified'], paper_teacher_score=row.get('teacher_score'),
        paper_alone=row.get('student_baseline'), paper_epochs=row.get('epochs'),
        paper=f'{paper["title"]} ({paper["venue"]} {paper["year"]})' if paper else None, arxiv=paper.get('arxiv') or None,
        paper_source=row['source'], table=row['table'])


def _ours(row: Mapping) -> dict:
    seeds, alone = row.get('seeds'), row.get('alone')
    gain = row.get('gain')
    if gain is None and _number(alone) and _number(row['score']):
        gain = row['score'] - alone if higher_is_better(row['metric']) else alone - row['score']
    return dict(
        our_score=row['score'], our_std=row.get('std'), our_runs=row.get('runs'),
        our_failed=row.get('failed') or None,
        our_seeds=' '.join(map(str, seeds)) if seeds else None, our_last=row.get('last_score'),
        our_best=row.get('best_score'), our_teacher_score=row.get('teacher_score'), our_alone=alone, our_gain=gain,
        our_epochs=row.get('epochs'), how=row['how'], checkpoint=row.get('checkpoint'), our_source=row['source'],
        parameters=row.get('parameters'), parameters_of='checkpoint' if row.get('parameters') is not None else None,
        flops=row.get('flops'), latency_ms=row.get('latency_ms'), input_shape=_shape(row.get('input_shape')))


def _shape(shape: Iterable[int] | None) -> str | None:
    return 'x'.join(map(str, shape)) if shape else None


def compare(papers: Iterable[dict], ours: Iterable[dict]) -> list[dict]:
    """Papers' rows and ours, side by side.

    Args:
        papers: rows of :func:`zoo.tables.paper_rows`.
        ours: of :func:`measured_table_rows`, :func:`card_row` or ``zoo.engine.benchmark``.

    Returns:
        Rows with the keys :data:`COLUMNS`. Each paper's row once for each comparable row of ours, or alone; each of ours at
        least once. First those with a number of ours, then by task, data set, metric, pair and method.

    Raises:
        ValueError: a row stands in the other's list.
    """
    papers, ours = list(papers), list(ours)
    for rows, origin in ((papers, 'paper'), (ours, 'measured')):
        for row in rows:
            if row.get('origin') != origin:
                raise ValueError(f'compare: a row of origin {row.get("origin")!r} stands among the {origin} ones: '
                                 f'{row.get("method")} on {row.get("dataset")}.')
    by_method: dict[str, list[int]] = {}
    for index, row in enumerate(papers):
        by_method.setdefault(name_key(row.get('method')), []).append(index)
    matched, table = set(), []
    for our in ours:
        candidates = by_method.get(name_key(our['method']), [])
        partners = [index for index in candidates if _comparable(our, papers[index])]
        for index in partners:
            paper = papers[index]
            said, delta = differences(our, paper), None
            if _fraction(our['score'], paper['score']) and higher_is_better(our['metric']):
                said.append('unit (percent)')
            elif _number(paper['score']) and _number(our['score']):
                delta = our['score'] - paper['score']
            table.append({**_head(paper), **_theirs(paper), **_ours(our), 'delta': delta, 'same_data': True,
                          'same_teacher': _same_teacher(our, paper), 'differs': ', '.join(said) or None})
        matched.update(partners)
        if partners:
            continue
        row = {**_head(our), **_ours(our)}
        near = _nearest(our, (papers[index] for index in candidates))
        if near is not None:
            row.update(same_data=name_key(our['dataset']) == name_key(near['dataset']), same_teacher=_same_teacher(our, near),
                       differs=', '.join(differences(our, near)) or None)
        elif our['method'] != 'none':
            row['differs'] = "no paper's row of this method, task and metric"
        table.append(row)
    table += [{**_head(row), **_theirs(row)} for index, row in enumerate(papers) if index not in matched]
    return sorted(table, key=_order)


def _order(row: Mapping) -> tuple:
    task = row['task'] if row['task'] in ORDER else ''
    score = row['our_score'] if row['our_score'] is not None else row['paper_score']
    score = (-score if row['better'] == 'higher' else score) if _number(score) else math.inf
    texts = (row['dataset'], row['metric'], name_key(row['student']), name_key(row['teacher']))
    return (row['our_score'] is None, ORDER.index(task) if task else len(ORDER), row['task'], *texts, score,
            *(str(row[k] or '') for k in ('method', 'variant', 'table', 'paper_source', 'how', 'checkpoint', 'our_source')))


def add_networks(rows: list[dict], facts: Mapping[tuple[str, str], Mapping]) -> None:
    """Fill parameters, FLOPs and latency into rows that lack them, in place, from the zoo's networks.

    Args:
        rows: of :func:`compare`.
        facts: (data set, student) to ``parameters``, ``flops``, ``latency_ms`` and ``input_shape``, some or all.
    """
    for row in rows:
        known = facts.get((row['dataset'], row['student']))
        if known is None or row['parameters'] is not None:
            continue
        row.update({k: known[k] for k in ('parameters', 'flops', 'latency_ms') if known.get(k) is not None},
                   parameters_of="the zoo's network of this name", input_shape=_shape(known.get('input_shape')))


def select(rows: Iterable[dict], *, task: str | None = None, dataset: str | None = None,
           method: str | None = None) -> list[dict]:
    """Rows (of any of the functions here) whose task, data set and method hold the given texts, in any case and without
    hyphens; the whole method must fit, a part of the others will do."""
    def fits(row: Mapping) -> bool:
        return all(wanted is None or name_key(wanted) in name_key(row.get(key))
                   for key, wanted in (('task', task), ('dataset', dataset))) \
            and (method is None or name_key(method) == name_key(row.get('method')))
    return [row for row in rows if fits(row)]


# ---- files

#: what the Markdown page shows of each row
SHOWN = ('method', 'variant', 'teacher', 'student', 'dataset', 'metric', 'paper_score', 'our_score', 'our_std', 'our_runs',
         'our_alone', 'delta', 'differs', 'how', 'parameters', 'flops', 'latency_ms')
SHOWN_OF_PAPERS = ('method', 'variant', 'teacher', 'student', 'dataset', 'metric', 'paper_score', 'paper_alone',
                   'paper_teacher_score', 'paper_epochs', 'parameters', 'paper_source')


def comparison_markdown(rows: list[dict], machine: Mapping[str, object], notes: Iterable[str] = ()) -> str:
    """The comparison as a Markdown page: our results, then what papers report.

    Args:
        rows: of :func:`compare`.
        machine: hardware and versions, see ``zoo.engine.benchmark.machine``.
        notes: sentences about what could not be evaluated, or came out otherwise.
    """
    own = [row for row in rows if row['our_score'] is not None]
    rest = [row for row in rows if row['our_score'] is None]
    lines = ['# Our results beside the papers\'', '',
             "A number of ours never stands in a paper's column. `delta` is given only where data set, pair and variant are "
             "the same; otherwise `differs` names what is not, with the value of the nearest row of a paper.", '',
             f'{len(own)} rows with a number of ours, {len(rest)} rows of papers alone. Latency: median for one image on '
             f'{machine_text(machine)}.', '']
    notes = list(notes)
    if notes:
        lines += ['Notes:', '', *(f'- {" ".join(note.split())}' for note in notes), '']
    lines += ['## Ours', '', to_markdown(own, SHOWN) if own else 'None.\n']
    lines += ['## Papers', '', to_markdown(rest, SHOWN_OF_PAPERS) if rest else 'None.\n']
    return '\n'.join(lines)


def machine_text(machine: Mapping[str, object]) -> str:
    """Hardware, threads and torch in words."""
    parts = [str(machine.get('hardware') or 'an unknown machine')]
    if machine.get('threads'):
        parts.append(f'{machine["threads"]} thread{"s" if machine["threads"] != 1 else ""}')
    if machine.get('torch'):
        parts.append(f'torch {machine["torch"]}')
    return ', '.join(parts)


def comparison_csv(rows: list[dict]) -> str:
    """The comparison as comma-separated values: the columns of :data:`COLUMNS`, numbers unrounded."""
    return to_csv(rows, list(COLUMNS))


def comparison_json(rows: list[dict], machine: Mapping[str, object], notes: Iterable[str] = ()) -> dict:
    """The comparison as plain data: ``columns`` (name to meaning), ``machine``, ``notes`` and ``rows``."""
    return dict(columns=COLUMNS, machine=dict(machine), notes=list(notes), rows=rows)
