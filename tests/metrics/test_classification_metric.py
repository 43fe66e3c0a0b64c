"""ClassificationMetric: values, batching, processes, errors."""
import socket
import warnings

import pytest
import torch
import torch.nn.functional as F
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope

import zoo.metrics.classification as classification
from zoo.metrics import ClassificationMetric, expected_calibration_error
from zoo.registry import METRICS


def predictions(n=23, classes=10, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=generator)
    return {'logits': logits, 'labels': torch.randint(classes, (n,), generator=generator),
            'teacher_logits': logits + torch.randn(n, classes, generator=generator)}


def part(batch, index):
    return {name: tensor[index] for name, tensor in batch.items()}


def evaluate(*batches, size=None, **options):
    metric = ClassificationMetric(**options)
    for batch in batches:
        metric.process(None, [batch])
    return metric.evaluate(size or sum(len(batch['logits']) for batch in batches))


def test_values_against_plain_torch():
    batch = predictions()
    logits, labels, teacher = batch['logits'].double(), batch['labels'], batch['teacher_logits'].double()
    got = evaluate(batch)
    assert list(got) == ['top1', 'top5', 'nll', 'ece', 'agreement', 'teacher_kl']
    order = logits.argsort(-1, descending=True)
    hits = order == labels[:, None]
    want = {
        'top1': 100 * hits[:, :1].any(1).double().mean(), 'top5': 100 * hits[:, :5].any(1).double().mean(),
        'nll': F.cross_entropy(logits, labels), 'ece': expected_calibration_error(logits, labels, num_bins=15),
        'agreement': 100 * (logits.argmax(-1) == teacher.argmax(-1)).double().mean(),
        'teacher_kl': F.kl_div(logits.log_softmax(-1), teacher.softmax(-1), reduction='batchmean'),
    }
    for name, value in want.items():
        assert got[name] == pytest.approx(float(value), rel=1e-5), name


def test_batches_of_any_size_give_the_same():
    batch = predictions()
    whole = evaluate(batch)
    metric = ClassificationMetric()
    metric.process(None, [part(batch, slice(0, 7)), part(batch, slice(7, 8))])
    metric.process(None, [part(batch, slice(8, 23))])
    assert metric.evaluate(23) == pytest.approx(whole, rel=1e-6)


def test_padding_beyond_size_is_dropped():
    batch = predictions()
    assert evaluate(batch, size=20) == pytest.approx(evaluate(part(batch, slice(0, 20))))


def test_no_top5_for_few_classes():
    assert 'top5' not in evaluate(predictions(classes=5))
    assert 'top5' in evaluate(predictions(classes=6))


@pytest.mark.parametrize(('absent', 'names'), [
    ('teacher_logits', {'top1', 'top5', 'nll', 'ece'}), ('labels', {'agreement', 'teacher_kl'})])
@pytest.mark.parametrize('as_none', [True, False])
def test_absent_parts(absent, names, as_none):
    batch = predictions()
    if as_none:
        batch[absent] = None
    else:
        del batch[absent]
    assert set(evaluate(batch)) == names


def test_constant_and_nan_logits_are_not_right():
    labels = torch.arange(10)
    flat = evaluate({'logits': torch.zeros(10, 10), 'labels': labels})
    assert flat['top1'] == pytest.approx(10) and flat['top5'] == pytest.approx(50)
    assert flat['nll'] == pytest.approx(torch.tensor(10.).log().item())
    broken = evaluate({'logits': torch.full((10, 10), torch.nan), 'labels': labels})
    assert broken['top1'] <= 10 and broken['nll'] != broken['nll'] and broken['ece'] != broken['ece']


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    batch = predictions()
    half = {**batch, 'logits': batch['logits'].to(dtype), 'teacher_logits': batch['teacher_logits'].to(dtype)}
    full = {**batch, 'logits': half['logits'].float(), 'teacher_logits': half['teacher_logits'].float()}
    assert evaluate(half) == evaluate(full)


def test_ensemble_of_equal_members_is_one_teacher():
    batch = predictions()
    ensemble = {**batch, 'teacher_logits': batch['teacher_logits'][:, None].expand(-1, 3, -1)}
    assert evaluate(ensemble) == pytest.approx(evaluate(batch), rel=1e-5)


def test_rows_keep_no_graph_and_little_memory():
    batch = predictions()
    batch['logits'].requires_grad_()
    metric = ClassificationMetric()
    metric.process(None, [batch])
    rows, = metric.results
    assert not rows.requires_grad and rows.dtype == torch.float32 and rows.shape == (23, 7)


def test_second_evaluation_starts_afresh():
    metric = ClassificationMetric()
    metric.process(None, [predictions()])
    metric.evaluate(23)
    other = predictions(classes=4, seed=1)
    metric.process(None, [other])
    assert metric.evaluate(23) == evaluate(other)


def test_empty_evaluation_is_an_error():
    with pytest.raises(ValueError, match='nothing to evaluate'):
        ClassificationMetric().evaluate(10)


@pytest.mark.parametrize(('batch', 'error', 'message'), [
    ({'labels': torch.zeros(2).long()}, KeyError, 'needs logits'),
    ({'logits': torch.zeros(2, 3)}, ValueError, 'labels or teacher_logits'),
    ({'logits': torch.zeros(2, 3), 'labels': torch.zeros(3).long()}, ValueError, 'one class index per row'),
    ({'logits': torch.zeros(2, 3), 'labels': torch.zeros(2, 3)}, ValueError, 'argmax'),
    ({'logits': torch.zeros(2, 3), 'labels': torch.zeros(2)}, TypeError, 'integer'),
    ({'logits': torch.zeros(2, 3, 4), 'labels': torch.zeros(2).long()}, ValueError, r'\(N, K\)'),
    ({'logits': torch.zeros(2, 3), 'teacher_logits': torch.zeros(2, 4)}, ValueError, 'teacher'),
])
def test_bad_batches(batch, error, message):
    with pytest.raises(error, match=message):
        ClassificationMetric().process(None, [batch])


@pytest.mark.parametrize('wrong', [-1, 10])
def test_labels_outside_the_classes(wrong):
    batch = predictions()
    batch['labels'][3] = wrong
    with pytest.raises(ValueError, match='1 of 23 labels'):
        evaluate(batch)


def test_parts_must_not_change_within_an_evaluation():
    metric, batch = ClassificationMetric(), predictions()
    metric.process(None, [batch])
    with pytest.raises(ValueError, match='same parts'):
        metric.process(None, [{'logits': batch['logits'], 'labels': batch['labels']}])


def test_prefix_and_num_bins():
    batch = predictions()
    got = evaluate(batch, prefix='student', num_bins=3)
    assert got['student/ece'] == pytest.approx(
        expected_calibration_error(batch['logits'], batch['labels'], num_bins=3).item(), rel=1e-5)
    with pytest.raises(ValueError, match='num_bins'):
        ClassificationMetric(num_bins=0)


def test_found_by_registry_and_by_mmengine():
    assert isinstance(METRICS.build({'type': 'ClassificationMetric'}), ClassificationMetric)
    with DefaultScope.overwrite_default_scope('zoo'):
        evaluator = Evaluator({'type': 'ClassificationMetric'})
    batch = predictions()
    evaluator.process([batch])
    assert evaluator.evaluate(23) == evaluate(batch)


def shards(batch, world):
    """What mmengine's sampler gives each rank: every ``world``-th sample, the last round filled from the start."""
    n = len(batch['logits'])
    order = torch.arange(-(-n // world) * world) % n
    return [part(batch, order[rank::world]) for rank in range(world)]


@pytest.mark.parametrize('world', [2, 4, 8])
def test_gathered_rows_are_those_of_one_process(monkeypatch, world):
    # of 4 and 8 ranks the last three add a sample, so that only rows in the sampler's order lose the right ones
    batch = predictions(21)
    sent = []
    monkeypatch.setattr(classification, 'all_gather_object', lambda own: sent.append(own) or [own])
    for shard in shards(batch, world):
        evaluate(shard)
    monkeypatch.setattr(classification, 'all_gather_object', lambda own: sent)
    assert ClassificationMetric().evaluate(21) == pytest.approx(evaluate_alone(monkeypatch, batch), rel=1e-6)


def evaluate_alone(monkeypatch, batch):
    monkeypatch.setattr(classification, 'all_gather_object', lambda own: [own])
    return evaluate(batch)


def test_processes_with_different_parts(monkeypatch):
    row = torch.zeros(1, 2)
    monkeypatch.setattr(classification, 'all_gather_object',
                        lambda own: [(('agreement', 'teacher_kl'), row), (('top1', 'nll'), row)])
    with pytest.raises(ValueError, match='different parts'):
        ClassificationMetric().evaluate(2)


def run_rank(rank, world, port, queue):
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', init_method=f'tcp://127.0.0.1:{port}', rank=rank, world_size=world)
    got = dict(evaluate(shards(predictions(), world)[rank], size=23))
    try:
        ClassificationMetric().evaluate(23)
        empty = ''
    except ValueError as error:
        empty = str(error)
    queue.put((rank, got, empty))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_give_what_one_gives(tmp_path):
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    context = torch.multiprocessing.get_context('spawn')
    queue = context.Queue()
    ranks = [context.Process(target=run_rank, args=(rank, 2, port, queue), daemon=True) for rank in range(2)]
    for process in ranks:
        process.start()
    try:
        answers = sorted(queue.get(timeout=120) for _ in ranks)
        for process in ranks:
            process.join(timeout=60)
    finally:
        for process in ranks:
            if process.is_alive():
                process.terminate()
    alone = dict(evaluate(predictions()))
    for _, got, empty in answers:
        assert got == pytest.approx(alone, rel=1e-6)
        assert 'nothing to evaluate' in empty
    assert answers[0][1] == answers[1][1]
