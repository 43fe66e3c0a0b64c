"""From finished runs to cards: what is measured again, refused, compared and written."""
import copy
import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import zoo
from tests.conftest import ROOT, TINY, tiny_config
from zoo.engine import Runner
from zoo.hub import cards, publish
from zoo.hub.download import sha256_of
from zoo.hub.publish import PublishError, compare_alone
from zoo.models import build_network
from zoo.models.released import load_released, read_metadata, save_released

from .conftest import leftovers


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> Path:
    """``alone``, ``alone_4`` (another seed) and ``kd``, taught by ``alone``'s student."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp('runs')
    teacher = dict(TINY, checkpoint=str(folder / 'alone' / 'student.safetensors'))
    for name, options in dict(alone=dict(teacher=None), alone_4=dict(teacher=None, randomness=dict(seed=4)),
                              kd=dict(teacher=teacher, distillers=[dict(type='KD', weight=0.5)])).items():
        Runner.from_cfg(tiny_config(folder / name, epochs=2, **options)).train()
    return folder


@pytest.fixture
def runs(trained, tmp_path) -> Path:
    """A copy of the runs, to be spoilt; the teacher's path stays the first one's."""
    shutil.copytree(trained, tmp_path / 'runs')
    return tmp_path / 'runs'


@pytest.fixture
def dest(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv('ZOO_CARDS', str(tmp_path / 'released'))
    return tmp_path / 'released'


def change_record(run: Path, **changes) -> None:
    record = json.loads((run / 'record.json').read_text())
    for path, value in changes.items():
        *parts, last = path.split('__')
        at = record
        for part in parts:
            at = at[part]
        at[last] = value
    (run / 'record.json').write_text(json.dumps(record))


def test_a_run_becomes_a_checkpoint(runs, trained, dest):
    release = publish.publish(runs / 'kd', 'tiny_kd', alone=[runs / 'alone', runs / 'alone_4'], dest=dest)
    record = json.loads((runs / 'kd' / 'record.json').read_text())
    own, file = release.card.zoo, release.card.files[0]
    assert leftovers(dest) == ['tiny_kd.md', 'tiny_kd.safetensors']
    assert sha256_of(release.checkpoint) == file['sha256'] and release.checkpoint.stat().st_size == file['bytes']
    assert release.scores['float32']['top1'] == pytest.approx(record['last']['top1'])
    assert release.card.score == pytest.approx(release.scores[file['dtype']]['top1'], rel=1e-5)
    assert own['file_scores'].keys() == {'float32', 'float16'}  # both were measured
    assert release.card.methods == ['kd'] and own['distillers'] == record['distillers'] and own['epochs'] == 2
    teacher, = own['teachers']
    alone = json.loads((trained / 'alone' / 'record.json').read_text())
    assert teacher['sha256'] == sha256_of(trained / 'alone' / 'student.safetensors')
    assert teacher['score'] == pytest.approx(alone['last']['top1'], rel=1e-5)  # of the record beside its file
    assert own['alone']['runs'][0]['last'] == teacher['score'] and [run['seed'] for run in own['alone']['runs']] == [3, 4]
    better = record['last']['top1'] > own['alone']['mean']
    assert own['verdict'].startswith('Better' if better else 'Not better') and '1 seed against 2 seeds' in own['verdict']
    assert own['verdict'] in release.card.prose and own['data']['license'].startswith('CC BY 4.0')
    # what a user gets
    net, trained_net = zoo.load('tiny_kd'), load_released(runs / 'kd' / 'student.safetensors')
    for key, value in trained_net.state_dict().items():
        assert torch.allclose(net.state_dict()[key].float(), value.float(), rtol=2e-3, atol=1e-6), key
    assert read_metadata(release.checkpoint)['facts']['name'] == 'tiny_kd'
    assert not (runs / 'kd' / 'released').exists() and sorted(p.name for p in (runs / 'kd').iterdir()) == \
        sorted(p.name for p in (trained / 'kd').iterdir())  # the run's folder is as it was


def test_a_score_that_is_not_the_logs_is_refused(runs, dest):
    net = build_network(dict(TINY, num_classes=10))
    metadata = read_metadata(runs / 'kd' / 'student.safetensors')
    save_released(net, runs / 'kd' / 'student.safetensors', preprocess=metadata['preprocess'])
    with pytest.raises(PublishError, match='the log of its run says .*: not published'):
        publish.publish(runs / 'kd', 'x', dest=dest)
    assert not dest.exists()


def test_half_only_where_it_costs_nothing(runs, dest, monkeypatch):
    logged = json.loads((runs / 'alone' / 'record.json').read_text())['last']['top1']
    scores = iter([logged, logged - 0.5] * 2 + [logged])

    def evaluate(config, network, checkpoint, options=None):
        return dict(top1=next(scores))
    monkeypatch.setattr(publish, 'evaluate', evaluate)
    release = publish.publish(runs / 'alone', 'a', dest=dest)
    assert release.card.files[0]['dtype'] == 'float32' and release.card.score == pytest.approx(logged, rel=1e-5)
    assert release.card.zoo['file_scores']['float16'] == pytest.approx(logged - 0.5, rel=1e-5)
    assert {v.dtype for v in load_file(release.checkpoint).values()} == {torch.float32, torch.int64}
    with pytest.raises(PublishError, match='The float16 file scores'):
        publish.publish(runs / 'alone', 'b', dest=dest, half='yes')
    assert publish.publish(runs / 'alone', 'c', dest=dest, half='no').scores.keys() == {'float32'}
    assert publish._costs_nothing(50.0, 50.01, True) and not publish._costs_nothing(12.2, 12.0, False)


def test_what_is_compared(runs):
    kd, alone, other = (json.loads((runs / name / 'record.json').read_text()) for name in ('kd', 'alone', 'alone_4'))

    def scored(record, value):
        record = copy.deepcopy(record)
        record['last']['top1'] = value
        return record
    found = compare_alone([scored(kd, 80.0)], [scored(alone, 79.0), scored(other, 77.0)])
    assert found['mean'] == 78.0 and found['difference'] == 2.0 and found['std'] == pytest.approx(2**0.5, rel=1e-5)
    assert found['verdict'] == 'Better than its student alone under the same budget: top1 80.00 against 78.00 (+2.00; 1 seed ' \
                               'against 2 seeds).'
    assert compare_alone([scored(kd, 77.0)], [scored(alone, 77.0)])['verdict'].startswith('Not better')
    assert 'no proof' in compare_alone([scored(kd, 80.0)], [scored(alone, 79.0)])['verdict']
    spread = compare_alone([scored(kd, 80.0), scored(kd, 84.0)], [scored(alone, 81.0), scored(other, 82.0)])
    assert 'less than the spread' in spread['verdict']
    assert compare_alone([scored(kd, 3.0)], [scored(alone, 5.0)], greater=False)['verdict'].startswith('Better')
    with pytest.raises(PublishError, match='was distilled'):
        compare_alone([kd], [kd])
    with pytest.raises(PublishError, match='epochs: 2 and 3'):
        compare_alone([kd], [dict(alone, epochs=3)])
    inheriting = dict(kd, student=dict(kd['student'], inherit=['neck']))
    assert compare_alone([inheriting], [alone])['mean'] == pytest.approx(alone['last']['top1'], rel=1e-5)


def test_other_seeds_and_settings(runs, dest):
    release = publish.publish(runs / 'alone', 'a', also=[runs / 'alone_4'], dest=dest, half='no')
    assert release.card.zoo['seeds'] == [3, 4] and len(release.card.zoo['runs']) == 2 and release.card.methods == ['none']
    assert 'One seed.' not in release.card.zoo['limits'] and 'no distilled network' in release.card.zoo['verdict']
    with pytest.raises(PublishError, match='A further seed is not of the same budget'):
        publish.publish(runs / 'alone', 'b', also=[runs / 'kd'], dest=dest)
    config, = (runs / 'alone_4').glob('*.py')
    config.write_text(config.read_text().replace('lr=0.05', 'lr=0.01'))
    assert publish._setting_notes(next((runs / 'kd').glob('*.py')), [runs / 'alone_4']) == ['with another optimiser setting']


def test_bad_input_costs_no_evaluation(runs, dest, monkeypatch):
    monkeypatch.setattr(publish, 'evaluate', lambda *args, **options: pytest.fail('too late'))
    for run, name, options, message in [
            ('none', 'x', {}, 'no finished run'), ('kd', '../x', {}, 'without a folder'), ('kd', '.x', {}, 'without a folder'),
            ('kd', 'x', dict(half='maybe'), 'half is'), ('kd', 'x', dict(alone=[runs / 'kd']), 'was distilled'),
            ('kd', 'x', dict(pipeline_tag='cats'), 'none of image-classification')]:
        with pytest.raises(PublishError, match=message):
            publish.publish(runs / run, name, dest=dest, **options)
    change_record(runs / 'kd', data='holiday photos')
    with pytest.raises(PublishError, match='licence of the data set .*--data-license'):
        publish.publish(runs / 'kd', 'x', dest=dest)
    change_record(runs / 'kd', data='digits', monitor='top9')
    with pytest.raises(PublishError, match='never evaluated'):
        publish.publish(runs / 'kd', 'x', dest=dest)
    (runs / 'alone' / 'student.safetensors').unlink()
    with pytest.raises(PublishError, match='no student.safetensors'):
        publish.publish(runs / 'alone', 'x', dest=dest)
    (runs / 'alone_4' / 'record.json').write_text('{')
    with pytest.raises(PublishError, match='damaged'):
        publish.publish(runs / 'alone_4', 'x', dest=dest)
    assert not dest.exists()


def test_a_file_that_rebuilds_no_network(runs, dest):
    net = build_network(dict(TINY, num_classes=10))
    net.build_config = dict(net.build_config, num_classes=7)
    save_released(net, runs / 'kd' / 'student.safetensors')
    with pytest.raises(PublishError, match='cannot be rebuilt into a network'):
        publish.publish(runs / 'kd', 'x', dest=dest)


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A scratch repository in place of ours."""
    folder = tmp_path / 'repository'
    for module in (cards, publish):
        monkeypatch.setattr(module, 'own_folder', lambda: folder / 'model_cards')
        monkeypatch.setattr(module, 'WEIGHTS', folder / 'weights')
    monkeypatch.setattr('zoo.hub.download.WEIGHTS', folder / 'weights')
    return folder


def test_small_files_are_embedded(runs, repository, monkeypatch):
    release = publish.publish(runs / 'kd', 'tiny', half='no')
    assert leftovers(repository) == ['tiny.md', 'tiny.safetensors']
    assert release.card.files[0]['embedded'] == 'zoo/hub/weights' and zoo.hub.checkpoint_path('tiny') == release.checkpoint
    with pytest.raises(PublishError, match='There is a card'):
        publish.publish(runs / 'kd', 'tiny')
    # the prose is the author's, the table is ours
    prose = release.card.path.read_text().replace('## Use', '## Use it well').replace('top1', 'TOP')
    release.card.path.write_text(release.card.path.read_text().split('---\n# ')[0] + '---\n# ' + prose.split('---\n# ')[1])
    again = publish.publish(runs / 'kd', 'tiny', half='no', force=True)
    assert '## Use it well' in again.card.prose and '| top1, this file' in again.card.prose
    monkeypatch.setattr(publish, 'EMBED_LIMIT', 1000)
    with pytest.raises(PublishError, match='cannot be embedded .*--url or --push'):
        publish.publish(runs / 'kd', 'large', half='no')
    assert leftovers(repository) == ['tiny.md', 'tiny.safetensors']
    release = publish.publish(runs / 'kd', 'large', half='no', urls=['https://example.org/large.safetensors'])
    assert release.checkpoint == runs / 'kd' / 'released' / 'large.safetensors' and 'embedded' not in release.card.files[0]
    monkeypatch.setattr(publish, 'EMBED_LIMIT', 5_000_000)
    monkeypatch.setattr(publish, 'EMBED_TOTAL', 10_000)
    with pytest.raises(PublishError, match='all embedded files together'):
        publish.publish(runs / 'kd', 'third', half='no')


def test_metrics_of_other_tasks(runs, dest, monkeypatch):
    """Nothing knows top1: detection's mAP lies in 0..1, a Frechet distance is better when it is smaller."""
    for name, metric, value in (('alone', 'coco/bbox_mAP', 0.31234), ('alone_4', 'fid_digits', 12.5)):
        scores = {metric: value, 'epoch': 2}
        change_record(runs / name, monitor=metric, data='BCCD', last=scores, best=scores)
        monkeypatch.setattr(publish, 'evaluate', lambda *a, metric=metric, value=value, **k: {'x': 1.0, metric: value})
        tag = 'object-detection' if name == 'alone' else 'unconditional-image-generation'
        release = publish.publish(runs / name, name, dest=dest, pipeline_tag=tag)
        assert (release.card.monitor, release.card.score, release.card.task) == (metric, value, tag)
        assert release.card.zoo['data']['license'].startswith('MIT')
    assert 'tools/sample.py' in release.card.prose or release.card.zoo['config'] is None
    change_record(runs / 'alone', data='CamVid-480x360')
    monkeypatch.setattr(publish, 'evaluate', lambda *a, **k: {'coco/bbox_mAP': 0.31234})
    release = publish.publish(runs / 'alone', 'nc', dest=dest)
    assert release.card.license == 'cc-by-nc-4.0' and any('commercial' in limit for limit in release.card.zoo['limits'])


def test_nothing_is_downloaded_when_it_is_built():
    build = dict(type='TimmModel', model_name='resnet18', pretrained=True, num_classes=3)
    assert publish._without_weights(build) == dict(type='TimmModel', model_name='resnet18', num_classes=3)
    nested = dict(type='MMDetModel', model=dict(backbone=dict(
        type='ResNet', depth=18, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18')), neck=[dict(a=1)]))
    assert publish._without_weights(nested)['model'] == dict(backbone=dict(type='ResNet', depth=18), neck=[dict(a=1)])


def test_a_generator_is_compared_with_its_teacher_in_as_few_steps():
    config = dict(task=dict(type='Diffusion', sampler=dict(type='boot', steps=1)))
    record = dict(monitor='fid_digits', teacher=dict(type='DiffusionUNet'))
    asked = []

    def draw(network, sampler):
        asked.append(sampler)
        return 40.0
    teachers = [dict(sampler=dict(type='ddim', steps=20, guidance_scale=1.5))]
    found = publish._drawn(config, teachers, record, draw, 4.8, False)
    assert asked == [dict(type='ddim', steps=1, guidance_scale=1.5)] and found['teacher_in_as_few_steps'] == 40.0
    assert found['verdict'].startswith('Better than its teacher in as few steps (ddim, 1 step): fid_digits 4.80 against 40.00.')
    assert publish._drawn(config, teachers, record, draw, 41.0, False)['verdict'].startswith('Not better')
    few = [dict(sampler=dict(type='ddim', steps=1))]
    assert publish._drawn(config, few, record, draw, 4.8, False) is None  # the teacher's own score says it already
    assert publish._drawn(dict(task=dict(type='Classification')), [{}], record, draw, 4.8, True) is None


def test_where_a_run_came_from(tmp_path, monkeypatch):
    record = dict(config='/home/me/zoo/configs/classification/kd/x.py')
    assert publish._origin(tmp_path, record, None, [0]) == (
        'configs/classification/kd/x.py', 'python tools/train.py configs/classification/kd/x.py')
    assert publish._origin(tmp_path, record, None, [2])[1].endswith('x.py --seed 2')
    run = tmp_path / 'sweeps' / 'pair' / 'nd-kdpp' / 'seed0'
    run.mkdir(parents=True)
    record = dict(config=str(run / 'config.py'))
    assert publish._origin(run, record, None, [0]) == (None, None)
    (run / 'sweep_run.json').write_text(json.dumps(dict(method='nd:kdpp', seed=0)))
    base = tmp_path / 'repository' / 'configs' / 'classification' / 'sweep' / 'pair.py'
    base.parent.mkdir(parents=True)
    base.write_text('')
    monkeypatch.setattr(publish, 'own_folder', lambda: tmp_path / 'repository' / 'model_cards')
    wanted = ('configs/classification/sweep/pair.py',
              'python tools/sweep.py configs/classification/sweep/pair.py --methods nd:kdpp --seeds 0 1')
    assert publish._origin(run, record, None, [0, 1]) == wanted  # by the sweep's name
    (tmp_path / 'sweeps' / 'pair' / 'results.json').write_text(json.dumps(dict(facts=dict(base='configs/a/sweep/b.py'))))
    assert publish._origin(run, record, None, [0])[0] == 'configs/a/sweep/b.py'


def test_what_the_command_line_changed_is_a_part_of_the_command(tmp_path):
    text = ("model = dict(student=dict(type='A', widths=[1, 2]))\ntrain_cfg = dict(max_epochs=9)\n"
            "param_scheduler = [dict(end=9)]\ntrain_dataloader = dict(dataset=dict(path='data/x.npz'))\n")
    (tmp_path / 'file.py').write_text(text)
    (tmp_path / 'ran.py').write_text(text.replace('9', '4').replace('data/x', '/home/me/x').replace('[1, 2]', '(1, 2)')
                                     + "work_dir = 'elsewhere'\noptim_wrapper = dict(constructor='C')\n")
    assert publish._changed(tmp_path / 'ran.py', tmp_path / 'file.py') == ['train_cfg.max_epochs=4', 'param_scheduler.0.end=4']
    assert publish._changed(tmp_path / 'file.py', tmp_path / 'file.py') == []


def test_names_of_networks():
    timm = dict(type='TimmModel', model_name='vit_tiny_patch16_224')
    assert publish._network_name(timm, 'zoo://vit_digits') == 'vit_digits'
    assert publish._network_name(dict(type='CifarResNet', depth=8), 'x.pth') == 'resnet8'


def test_data_of_the_scores():
    val, test = (dict(dataset=dict(type='D', name='BCCD', split=split)) for split in ('val', 'test'))
    assert publish._measured_on(dict(val_dataloader=val), dict(data='noise')) == 'BCCD'
    assert publish._measured_on(dict(dataset_name='digits'), dict(data='noise')) == 'digits'
    assert publish._measured_on({}, dict(data='noise')) == 'noise'
    assert publish._other_test_set(dict(val_dataloader=val, test_dataloader=test))
    assert not publish._other_test_set(dict(val_dataloader=val, test_dataloader=val)) and not publish._other_test_set({})


def test_another_test_set_is_measured_too(runs, dest):
    config, = (runs / 'alone').glob('*.py')
    with config.open('a') as file:
        file.write('\ntest_dataloader = dict(batch_size=32, num_workers=0, collate_fn=dict(type="zoo.collate_batch"), '
                   'dataset=dict(type="Digits", size=8, train=True, subset=64), sampler=dict(type="DefaultSampler", '
                   'shuffle=False))\n')
    release = publish.publish(runs / 'alone', 'a', dest=dest, half='no')
    validation, test = release.card.facts['model-index'][0]['results']
    assert [validation['dataset']['split'], test['dataset']['split']] == ['validation', 'test']
    assert validation['metrics'][0]['value'] == release.card.score and '| top1, test set |' in release.card.prose


class Api:
    """Stands in for huggingface_hub.HfApi."""

    def __init__(self, refuse: bool = False):
        self.refuse, self.calls = refuse, []

    def create_repo(self, repository, **options):
        if self.refuse:
            raise RuntimeError('401 Client Error: Unauthorized\nmore')
        self.calls.append(repository)

    def upload_file(self, *, path_or_fileobj, path_in_repo, repo_id, repo_type, commit_message):
        self.calls.append((Path(path_or_fileobj).name, path_in_repo, repo_id))


def test_push(runs, dest):
    release = publish.publish(runs / 'alone', 'tiny', dest=dest, half='no')
    api = Api()
    assert publish.push(release, 'me/tiny', api=api) == 'https://huggingface.co/me/tiny'
    assert api.calls == ['me/tiny', ('tiny.safetensors', 'tiny.safetensors', 'me/tiny'), ('tiny.md', 'README.md', 'me/tiny')]
    with pytest.raises(PublishError, match='401 Client Error: Unauthorized.*HF_TOKEN'):
        publish.push(release, 'me/tiny', api=Api(refuse=True))
    with pytest.raises(PublishError, match='owner/name'):
        publish.push(release, 'tiny', api=api)


def test_tool(runs, dest, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location('publish_tool', ROOT / 'tools' / 'publish.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    api = Api()
    monkeypatch.setattr('huggingface_hub.HfApi', lambda: api)
    assert module.main([str(runs / 'kd'), '--name', 'tiny', '--dest', str(dest), '--push', 'me/tiny', '--limit', 'Tiny.',
                        '--teacher-score', '77.5']) == 0
    out = capsys.readouterr().out
    assert str(dest / 'tiny.md') in out and 'was not measured' in out and 'huggingface.co/me/tiny' in out
    found = zoo.hub.card('tiny')
    assert found.files[0]['urls'] == ['hf://me/tiny/tiny.safetensors'] and 'Tiny.' in found.zoo['limits']
    assert found.zoo['teachers'][0]['score'] == 77.5 and len(api.calls) == 3
    assert module.main([str(runs / 'kd'), '--name', 'tiny', '--dest', str(dest)]) == 1
    assert 'error: There is a card' in capsys.readouterr().err
