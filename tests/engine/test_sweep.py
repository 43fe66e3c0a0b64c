"""Sweeps: which config a method takes, resumable runs, and the table; the runs themselves are a stand-in but for one test."""
import csv
import json
import os
import runpy
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from zoo.engine import sweep, sweep_table
from zoo.models import build_network
from zoo.registry import UnknownNameError
from zoo.tables import measured_rows

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / 'configs' / 'classification' / 'sweep' / 'resnet20_resnet8half_digits.py'
DENSE = [p for task in ('detection', 'segmentation') for p in (ROOT / 'configs' / task / 'sweep').glob('*.py')]
TINY = dict(type='CifarResNet', depth=8, widths=(4, 4, 8, 8))

#: in place of tools/train.py: fails for `at`, waits for `dkd` where asked to, else writes a record from method and seed
STAND_IN = '''
import json, os, sys, time
from pathlib import Path
config, _, folder, resume, _, seed = sys.argv[1:]
folder, seed = Path(folder), int(seed)
assert resume == '--resume' and Path(config).is_file()
with (folder.parent.parent / 'calls').open('a') as file:
    file.write(f'{folder.parent.name} {seed} {os.environ["OMP_NUM_THREADS"]}\\n')
if folder.parent.name == 'at':
    sys.exit('Traceback\\nerror: the map is too small\\n(hint)')
if folder.parent.name == 'dkd' and os.environ.get('STAND_IN_WAITS'):
    time.sleep(60)
top1 = dict(none=60.0, kd=63.0, dkd=59.0)[folder.parent.name] + [0.0, 2.0, 1.0][seed]
last = dict(epoch=2, top1=top1, nll=1.0)
if folder.parent.name != 'none':
    last['agreement'] = 80.0
(folder / 'student.safetensors').write_text('')
(folder / 'record.json').write_text(json.dumps(dict(
    monitor='top1', last=last, best=dict(last, top1=top1 + 1), epochs=2, train_seconds=4.0, train_images=64, seed=seed,
    data='digits', student_parameters=500, hardware='CPU', torch='2', zoo='0', finished='2026-01-01 00:00:00',
    peak_memory_bytes=10**8 + (0 if folder.parent.name == 'none' else 5 * 10**6))))
'''


@pytest.fixture
def base(tmp_path):
    weights = tmp_path / 'teacher.pth'
    torch.manual_seed(0)
    torch.save(build_network(dict(TINY, num_classes=10)).state_dict(), weights)
    return sweep.load_base(BASE, epochs=2, options={
        'model.teacher': dict(TINY, _delete_=True, checkpoint=str(weights)), 'model.student': dict(TINY),
        'train_dataloader.dataset.subset': 64})


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    script = tmp_path / 'stand_in.py'
    script.write_text(STAND_IN)
    monkeypatch.setattr(sweep, 'TRAIN', script)
    return script


def calls(out: Path) -> list[str]:
    path = out / 'calls'
    return [' '.join(line.split()[:2]) for line in path.read_text().splitlines()] if path.is_file() else []


def methods(*names):
    return sweep.find_methods(names, dataset='digits')[0]


# ---- which methods

def test_method_takes_the_config_of_the_data_then_cifar100():
    assert sweep.find_method('dkd', 'digits')[0].config.name == 'resnet20_resnet8half_digits.py'
    assert sweep.find_method('rkd', 'CIFAR-10-JPEG')[0].config.name == 'resnet32x4_resnet8x4_cifar100.py'
    assert sweep.find_method('none')[0].config is None
    variant = sweep.find_method('ctkd:dkd')[0]
    assert variant.config.name == 'resnet32x4_resnet8x4_cifar100_dkd.py'
    assert (variant.label, variant.slug, variant.folder) == ('ctkd:dkd', 'ctkd', 'ctkd-dkd')


def test_config_order_in_a_folder(tmp_path):
    folder = tmp_path / 'kd'
    folder.mkdir()
    for name in ('a_b_digits', 'a_b_digits_x', 'vgg_vgg_cifar100', 'resnet32x4_resnet8x4_cifar100', 'a_b_cifar10_jpeg'):
        (folder / f'{name}.py').write_text('')

    def chosen(name, dataset=''):
        return sweep.find_method(name, dataset, tmp_path)[0].config.stem

    assert chosen('kd') == 'resnet32x4_resnet8x4_cifar100'
    assert chosen('kd', 'digits') == 'a_b_digits'
    assert chosen('kd', 'CIFAR-10-JPEG') == 'a_b_cifar10_jpeg'
    assert chosen('kd:x') == 'a_b_digits_x'
    assert chosen('kd:vgg_vgg_cifar100') == 'vgg_vgg_cifar100'


@pytest.mark.parametrize('names, error, said', [
    (['dkdd'], UnknownNameError, 'Did you mean .*dkd'),
    (['none', 'kd', 'fitnet'], UnknownNameError, 'fitnets'),
    (['ctkd:nothing'], UnknownNameError, 'variant of ctkd'),
    (['nd'], ValueError, 'nd:dkdpp or nd:kdpp'),
    ([], ValueError, '--methods'),
])
def test_wrong_methods(names, error, said):
    with pytest.raises(error, match=said):
        sweep.find_methods(names)


def test_method_without_config(tmp_path):
    with pytest.raises(FileNotFoundError, match='kd has no config'):
        sweep.find_methods(['kd'], configs=tmp_path)
    found, without = sweep.find_methods([], everything=True, configs=tmp_path)
    assert [m.label for m in found] == ['none'] and 'kd' in without


def test_only_the_losses_are_taken_over(base):
    config = sweep.method_config(base, sweep.find_method('mlkd', 'CIFAR-100')[0], scale_epochs=False)
    assert [d['type'] for d in config.model.distillers] == ['MLKD']
    assert list(config.train_dataloader.dataset.views) == ['strong']
    assert config.train_dataloader.batch_size == base.train_dataloader.batch_size
    assert config.optim_wrapper == base.optim_wrapper and config.train_cfg == base.train_cfg
    assert config.data_preprocessor == base.data_preprocessor  # that of CIFAR-100 is another
    assert 'views' not in base.train_dataloader.dataset and not base.model.distillers
    assert sweep.method_config(base, methods('kd')[0]).task.loss_weight == 0.1


@pytest.mark.parametrize('path', sorted(DENSE), ids=lambda p: f'{p.parts[-3]}-{p.stem}')
def test_bases_of_detection_and_segmentation(path):
    base = sweep.load_base(path)
    folder = sweep.methods_folder(base)
    assert folder == path.parents[1] and base.model.teacher.checkpoint.startswith(f'work_dirs/{folder.name}/vanilla/')
    method, = sweep.find_method('cwd', base.dataset_name, folder)
    assert method.config.stem == path.stem or 'digit_scenes' in method.config.stem
    config = sweep.method_config(base, method)
    assert [d['type'] for d in config.model.distillers] == ['CWD'] and config.model.teacher == base.model.teacher


def test_a_teacher_that_no_other_serves_for_comes_along():
    base = sweep.load_base(next(p for p in DENSE if 'camvid' in p.stem))
    method, = sweep.find_method('lad', base.dataset_name, sweep.methods_folder(base))
    assert method.config.stem == 'deeplabv3plus_mbv2quarter_mbv2quarter_camvid'
    config = sweep.method_config(base, method)
    assert config.model.teacher.type == 'LabelAssistedSegmentor' and base.model.teacher.type == 'MMSegModel'
    assert config.model.student == base.model.student and config.optim_wrapper == base.optim_wrapper
    assert sweep.measure_agreement(base, None) is None  # no classes of images


def test_other_tasks_are_refused(base):
    base.task.type = 'Diffusion'
    with pytest.raises(ValueError, match='Classification, Detection, Segmentation.*compare_generators'):
        sweep.methods_folder(base)


def test_student_alone_has_no_teacher(base):
    base.task.loss_weight = 0.5
    config = sweep.method_config(base, methods('none')[0])
    assert config.model.teacher is None and config.model.distillers == [] and config.task.loss_weight == 1.0


def test_options_in_epochs_keep_their_share(base):
    dkd = sweep.find_method('dkd', 'CIFAR-100')[0]
    assert sweep.method_config(base, dkd).model.distillers[0]['warmup_epochs'] == pytest.approx(20 * 2 / 240, abs=1e-4)
    assert sweep.method_config(base, dkd, scale_epochs=False).model.distillers[0]['warmup_epochs'] == 20
    scaled = sweep.scaled_epochs([dict(num_loops=10, stage_one_epochs=0, temperature=4.0, weight=dict(warmup_epochs=20))], .1)
    assert scaled == [dict(num_loops=1, stage_one_epochs=0, temperature=4.0, weight=dict(warmup_epochs=2))]


def test_base_is_checked(tmp_path):
    with pytest.raises(ValueError, match='distillers of its own'):
        sweep.load_base(ROOT / 'configs/classification/kd/resnet20_resnet8half_digits.py')
    with pytest.raises(ValueError, match='lacks teacher'):
        sweep.load_base(ROOT / 'configs/classification/vanilla/resnet8half_digits.py')
    with pytest.raises(FileNotFoundError):
        sweep.load_base(tmp_path / 'nothing.py')


@pytest.mark.parametrize('path', sorted(BASE.parent.glob('*.py')), ids=lambda p: p.stem)
def test_shipped_bases(path):
    config = sweep.load_base(path)
    assert config.dataset_name and config.model.teacher.checkpoint.startswith(('work_dirs/classification/vanilla/', 'zoo://'))


def test_teacher_of_the_zoo_is_part_of_the_fingerprint():
    base = sweep.load_base(BASE)
    assert sweep.weights_of(base.model.teacher).is_file()
    assert sweep.weights_of(dict(type='resnet20')) is None


def test_teacher_without_weights_is_told_before_anything_runs(tmp_path):
    missing = 'work_dirs/classification/vanilla/no/student.safetensors'
    base = sweep.load_base(BASE, options={'model.teacher.checkpoint': missing})
    with pytest.raises(FileNotFoundError, match='Train it first: python tools/train.py configs/classification/vanilla/no.py'):
        sweep.measure_teacher(base, tmp_path)


# ---- runs

def test_fingerprint(base, tmp_path):
    kd, none = (sweep.method_config(base, m) for m in methods('kd', 'none'))
    first = sweep.fingerprint(kd, 0)
    assert first == sweep.fingerprint(sweep.method_config(base, methods('kd')[0]), 0)
    assert len({first, sweep.fingerprint(kd, 1), sweep.fingerprint(none, 0)}) == 3
    kd.work_dir = 'elsewhere'
    assert sweep.fingerprint(kd, 0) == first
    torch.save(build_network(dict(TINY, num_classes=10)).state_dict(), tmp_path / 'teacher.pth')
    assert sweep.fingerprint(kd, 0) != first


def test_runs_skip_what_is_finished_and_note_what_failed(base, tmp_path, stand_in):
    out, lines = tmp_path / 'out', []
    jobs = sweep.plan(base, methods('none', 'at', 'kd'), [0, 1], out)
    sweep.Runs(sweep.places(2), say=lines.append).run(jobs)
    assert sorted(calls(out)) == ['at 0', 'at 1', 'kd 0', 'kd 1', 'none 0', 'none 1']
    assert sum('failed: the map is too small' in line for line in lines) == 2
    found = sweep.collect(jobs)
    assert sorted(found['kd']['records']) == [0, 1] and found['at']['errors'] == dict.fromkeys((0, 1), 'the map is too small')

    # a second call, with a further seed: finished runs are left alone, failed ones tried again
    jobs = sweep.plan(base, methods('none', 'at', 'kd'), [0, 1, 2], out)
    sweep.Runs(sweep.places(1), say=lines.append).run(jobs)
    assert sorted(calls(out)[6:]) == ['at 0', 'at 1', 'at 2', 'kd 2', 'none 2']
    assert '4 of 9 runs are finished already and skipped.' in lines

    # another budget is another run: nothing of the old one is left
    (out / 'kd' / 'seed0' / 'epoch_2.pth').write_text('old')
    base.train_cfg.max_epochs = 3
    sweep.Runs(sweep.places(1), say=lines.append).run(sweep.plan(base, methods('kd'), [0], out))
    assert calls(out)[11:] == ['kd 0'] and not (out / 'kd' / 'seed0' / 'epoch_2.pth').exists()


def test_unfinished_run_is_continued_in_its_folder(base, tmp_path, stand_in):
    job, = sweep.plan(base, methods('kd'), [0], tmp_path / 'out')
    sweep._prepare_folder(job)
    (job.work_dir / 'epoch_1.pth').write_text('kept')
    assert not sweep.finished(job)
    sweep.Runs(sweep.places(1), say=lambda line: None).run([job])
    assert sweep.finished(job) and (job.work_dir / 'epoch_1.pth').exists()


def test_foreign_folder_is_left_alone(base, tmp_path, stand_in):
    job, = sweep.plan(base, methods('kd'), [0], tmp_path / 'out')
    job.work_dir.mkdir(parents=True)
    (job.work_dir / 'thesis.tex').write_text('precious')
    with pytest.raises(ValueError, match='no sweep made it'):
        sweep.Runs(sweep.places(1)).run([job])
    assert (job.work_dir / 'thesis.tex').read_text() == 'precious'


def test_interrupt_ends_the_runs_and_a_second_call_continues(base, tmp_path, stand_in, monkeypatch):
    out = tmp_path / 'out'
    jobs = sweep.plan(base, methods('none', 'dkd', 'kd'), [0], out)
    monkeypatch.setenv('STAND_IN_WAITS', '1')
    runs = sweep.Runs(sweep.places(1), say=lambda line: None)

    def interrupt():
        while 'dkd 0' not in calls(out):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    # a shell's background job ignores the signal from the start, and so would this test
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    start = time.time()
    try:
        with pytest.raises(KeyboardInterrupt):
            runs.run(jobs)
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert time.time() - start < 40 and all(p.poll() is not None for p in runs.alive)
    assert calls(out) == ['none 0', 'dkd 0']
    assert sweep.collect(jobs)['dkd'] == dict(slug='dkd', records={}, errors={})
    monkeypatch.delenv('STAND_IN_WAITS')
    sweep.Runs(sweep.places(1), say=lambda line: None).run(jobs)
    assert calls(out)[2:] == ['dkd 0', 'kd 0'] and all(map(sweep.finished, jobs))


def test_places(monkeypatch):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    monkeypatch.setattr(sweep, 'available_cores', lambda: 8)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert sweep.places() == [{'OMP_NUM_THREADS': '8'}]
    assert sweep.places(3) == [{'OMP_NUM_THREADS': '2'}] * 3
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '2,3')
    assert [p['CUDA_VISIBLE_DEVICES'] for p in sweep.places()] == ['2', '3']
    assert [p['CUDA_VISIBLE_DEVICES'] for p in sweep.places(3)] == ['2', '3', '2']
    with pytest.raises(ValueError):
        sweep.places(0)


@pytest.mark.parametrize('text, code, said', [
    ('noise\nerror: no such file\n(ZOO_TRACEBACK=1 shows where)\n', 1, 'no such file'),
    ('Traceback (most recent call last):\n  File\nKeyError: "x"\n', 1, 'KeyError: "x"'),
    ('', -9, 'killed by signal 9 (out of memory?)'), ('', 3, 'exit status 3')])
def test_error_in_one_sentence(text, code, said):
    assert sweep._error_of(text, code) == said


# ---- the table

@pytest.fixture
def swept(base, tmp_path, stand_in):
    out = tmp_path / 'out'
    chosen, seeds = methods('none', 'kd', 'dkd', 'at'), [0, 1]
    jobs = sweep.plan(base, chosen, seeds, out)
    sweep.Runs(sweep.places(2), say=lambda line: None).run(jobs)
    found = sweep.collect(jobs)
    facts = sweep_table.facts_of(base, found, dict(parameters=900, top1=97.5), seeds, command='python tools/sweep.py X',
                                 base_path='X', methods=chosen)
    return out, found, facts


def test_rows(swept):
    _, found, facts = swept
    rows = sweep_table.summarise(found, facts['seeds'])
    assert [row['method'] for row in rows] == ['kd', 'none', 'dkd', 'at']
    kd, none, dkd, at = rows
    assert kd['last'] == 64.0 and kd['last_std'] == pytest.approx(2 ** 0.5) and kd['best'] == 65.0
    assert kd['difference'] == 3.0 and kd['difference_std'] == 0.0 and not kd['below']
    assert none['difference'] is None and none['agreement'] is None and none['extra_megabytes'] is None
    assert dkd['difference'] == -1.0 and dkd['below']
    assert kd['agreement'] == 80.0 and kd['seconds_per_epoch'] == 2.0 and kd['extra_megabytes'] == 5.0
    assert at['n'] == 0 and at['failed'] == [0, 1] and at['last'] is None
    assert kd['year'] == 2014 and 'CVPR 2022' in dkd['paper']


def test_differences_are_paired_by_seed(swept):
    _, found, _ = swept
    del found['none']['records'][1]  # then kd's seed 1, which is 2 higher, must not count
    kd = next(row for row in sweep_table.summarise(found, [0, 1]) if row['method'] == 'kd')
    assert kd['last'] == 64.0 and kd['difference'] == 3.0 and kd['pairs'] == 1 and kd['difference_std'] is None
    del found['none']
    assert sweep_table.summarise(found, [0, 1])[0]['difference'] is None


def test_files(swept, tmp_path):
    out, found, facts = swept
    sweep_table.write_tables(out, found, facts)
    text = (out / 'table.md').read_text()
    for said in ('64 training images (a stratified subset), 360 test images', 'top-1 97.50 on these test images',
                 '900 parameters', '500 parameters', '2 epochs, batch 64, SGD, lr 0.05', 'seeds 0, 1', 'One recipe for all',
                 'torch 2', 'python tools/sweep.py X', '64.00 ± 1.41', '+3.00 ± 0.00', '| dkd ▼ |', '**none**',
                 '- at, seed 0: the map is too small'):
        assert said in text, said
    assert 'kd ▼' not in text.replace('dkd ▼', '')
    rows = list(csv.DictReader((out / 'table.csv').open()))
    assert [r['method'] for r in rows] == ['kd', 'none', 'dkd', 'at']
    assert float(rows[0]['difference']) == 3.0 and rows[3]['failed'] == '0 1' and rows[2]['below'] == 'true'
    assert (out / 'table.png').read_bytes().startswith(b'\x89PNG')

    copies = sweep_table.commit_tables(out, 'mine', tmp_path / 'measured')
    assert sorted(p.name for p in copies) == ['mine.csv', 'mine.json', 'mine.md', 'mine.png']
    filed = measured_rows(tmp_path / 'measured', method='kd')
    top1 = next(row for row in filed if row['metric'] == 'top1')
    assert top1['score'] == 64.0 and top1['n'] == 2 and top1['seeds'] == [0, 1] and top1['epoch'] == 'last'
    assert top1['epochs'] == 2 and top1['dataset'] == 'digits (64 training images)'
    assert top1['std'] == pytest.approx(2 ** 0.5) and {row['metric'] for row in filed} == {'top1', 'nll', 'agreement'}
    with pytest.raises(ValueError, match='no name'):
        sweep_table.commit_tables(out, '../x', tmp_path)


@pytest.mark.parametrize('monitor, best_first', [('coco/bbox_mAP', ['kd', 'none', 'dkd']), ('nll', ['dkd', 'none', 'kd'])])
def test_scores_of_other_tasks(swept, tmp_path, monitor, best_first):
    _, found, facts = swept
    for entry in found.values():
        for record in entry['records'].values():
            for at in ('last', 'best'):
                record[at] = {monitor: record[at]['top1'] / 100, 'epoch': 2, 'per_class': {}}
            record['monitor'] = monitor
    facts = dict(facts, monitor=monitor, teacher_score=0.7012, task='detection', scored_on='validation',
                 own_teachers={'dkd': 'label-assisted FCN'})
    rows = sweep_table.write_tables(tmp_path, found, facts)
    assert [row['method'] for row in rows][:3] == best_first
    assert [row['method'] for row in rows if row['below']] == [best_first[-1]]
    text = (tmp_path / 'table.md').read_text()
    assert '0.6400 ± 0.0141' in text and f'{monitor} 0.7012 on these validation images' in text and '+0.0300' in text
    assert 'agreement' not in text.lower() and f'| {monitor} last |' in text
    results = json.loads((tmp_path / 'results.json').read_text())['results']
    assert {(row['task'], row['metric']) for row in results} == {('detection', monitor)}
    assert 'dkd has a teacher of its own: label-assisted FCN.' in text
    assert {row['method']: row.get('variant') for row in results} == {
        'none': None, 'kd': None, 'dkd': 'teacher: label-assisted FCN'}


def test_unfinished_runs_are_told(swept):
    out, found, facts = swept
    del found['kd']['records'][1]
    sweep_table.write_tables(out, found, facts)
    assert '| 1 | 63.00 | 64.00 | +3.00 |' in (out / 'table.md').read_text()
    assert '1 not run to the end' in (out / 'table.md').read_text()
    rows = json.loads((out / 'results.json').read_text())['results']
    alone = {row['method']: row.get('student_baseline') for row in rows if row['metric'] == 'top1'}
    assert alone == {'none': None, 'kd': 60.0, 'dkd': 61.0}  # of the seeds that a method has finished


def test_nothing_finished_is_not_filed(base, tmp_path):
    jobs = sweep.plan(base, methods('kd'), [0], tmp_path)
    found = sweep.collect(jobs)
    facts = sweep_table.facts_of(base, found, dict(parameters=9), [0], command='x', base_path='x', methods=methods('kd'))
    sweep_table.write_tables(tmp_path, found, facts)
    assert not (tmp_path / 'table.png').exists()
    with pytest.raises(ValueError, match='nothing to file'):
        sweep_table.commit_tables(tmp_path, 'x', tmp_path / 'm')


@pytest.mark.parametrize('slug', ['reverse_kl', 'kd', 'mlkd', 'none'])
def test_papers(slug):
    text, year = sweep_table.paper_of(slug)
    assert (year is None) == (slug == 'none') and (year is None or str(year) in text) and not text.endswith('arXiv:')


# ---- the tool

def test_tool_tells_what_is_wrong(capsys):
    main = runpy.run_path(str(ROOT / 'tools' / 'sweep.py'))['main']
    assert main([str(BASE), '--methods', 'none', 'dkdd']) == 1
    assert 'Did you mean' in capsys.readouterr().err


@pytest.mark.slow
def test_sweep_of_two_methods(base, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'out'
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    main = runpy.run_path(str(ROOT / 'tools' / 'sweep.py'))['main']
    command = [str(BASE), '--methods', 'none', 'kd', '--seeds', '0', '1', '--epochs', '1', '--out', str(out),
               '--processes', '2', '--cfg-options',
               f'model.teacher.checkpoint={tmp_path / "teacher.pth"}', 'model.teacher.type=CifarResNet',
               'model.teacher.depth=8', 'model.teacher.widths=(4,4,8,8)', 'model.student.widths=(4,4,8,8)',
               'train_dataloader.dataset.subset=64', 'train_dataloader.dataset.size=8', 'val_dataloader.dataset.size=8',
               'test_dataloader.dataset.size=8', 'task.input_shape=(3,8,8)']
    assert main(command) == 0, capsys.readouterr().err
    rows = {r['method']: r for r in csv.DictReader((out / 'table.csv').open())}
    assert rows['kd']['n'] == rows['none']['n'] == '2' and rows['kd']['pairs'] == '2'
    assert 0 <= float(rows['none']['agreement']) <= 100  # measured after training, since it has no teacher
    assert {r['metric'] for r in json.loads((out / 'results.json').read_text())['results']} >= {'top1', 'agreement'}
    before = {p: p.stat().st_mtime_ns for p in out.rglob('record.json')}
    capsys.readouterr()
    assert main(command) == 0
    assert '4 of 4 runs are finished already' in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob('record.json')} and len(before) == 4
