"""Mistakes that users make get one sentence, before the first step where that is possible."""
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.conftest import TINY
from zoo.engine import OptimWrapper, Runner
from zoo.engine import test as evaluate
from zoo.engine.launch import default_work_dir, exit_status, prepare_config, train
from zoo.registry import DISTILLERS, MODELS, UnknownNameError
from zoo.tasks import Distillation, NonFiniteLossError


def build(**options):
    return Distillation(**{**dict(student=dict(TINY), task=dict(type='Classification', num_classes=10, input_shape=(3, 8, 8)),
                                  data_preprocessor=dict(type='BatchPreprocessor')), **options})


def test_unknown_names_suggest_near_ones():
    with pytest.raises(UnknownNameError, match='resnet20'):
        MODELS.build(dict(type='resnet_20'))
    with pytest.raises(UnknownNameError, match='DKD'):
        DISTILLERS.build(dict(type='dkdd'))
    with pytest.raises(ValueError, match="Unknown option of KD 'temprature'. Did you mean temperature"):
        DISTILLERS.build(dict(type='KD', temprature=4))


@pytest.mark.parametrize('option, said', {
    'train_cfg.max_iters': "Unknown option of EpochLoop 'max_iters'. Did you mean max_epochs",
    'optim_wrapper.optimizer.momentun': "Unknown option of SGD 'momentun'. Did you mean momentum",
    'train_dataloader.dataset.subsett': "Unknown option of Digits 'subsett'. Did you mean subset",
    'train_dataloader.pin': "Unknown option of DataLoader 'pin'",
    'model.student.width': "Unknown option of CifarResNet 'width'. Did you mean widths",
}.items())
def test_an_option_that_its_type_does_not_take(option, said, tiny, capsys, monkeypatch):
    monkeypatch.delenv('ZOO_TRACEBACK', raising=False)
    assert exit_status(lambda: train(tiny(**{option: 1}))) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize('workers', [0, 1])
def test_what_a_data_set_says_of_a_broken_file_is_all_that_is_said(workers, tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv('ZOO_TRACEBACK', raising=False)
    for label in 'ab':
        (tmp_path / 'images' / label).mkdir(parents=True)
        for k in range(4):
            Image.new('RGB', (8, 8)).save(tmp_path / 'images' / label / f'{k}.png')
    (tmp_path / 'images' / 'b' / '2.png').write_bytes(b'no image')
    config = tiny(epochs=1, batch_size=2)
    config.train_dataloader.pop('dataset')
    config.train_dataloader.update(num_workers=workers, dataset=dict(
        type='ImageFolder', root=str(tmp_path / 'images'), on_error='raise'))
    assert exit_status(lambda: train(config)) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and said[0].startswith('error: ') and str(Path('b', '2.png')) in said[0], said


def test_data_without_a_test_set(tiny, tmp_path, capsys):
    config = tiny(epochs=1)
    config.test_cfg, config.work_dir = dict(type='EvalLoop'), str(tmp_path / 'run')  # as the bases bring it
    train(prepare_config(config))
    student = str(tmp_path / 'run' / 'student.safetensors')
    tested = evaluate(prepare_config(tiny(epochs=1, test_cfg=dict(type='EvalLoop'))), student)
    assert 'no test_dataloader: tested on its val_dataloader' in capsys.readouterr().out
    assert tested['top1'] == json.loads((tmp_path / 'run' / 'record.json').read_text())['last']['top1']
    with pytest.raises(ValueError, match='neither test_dataloader nor val_dataloader'):
        evaluate(prepare_config(tiny(val_dataloader=None)), student)


def test_an_error_that_is_not_the_users_keeps_its_trace():
    def work():
        Runner(wrong=1)
    with pytest.raises(TypeError, match='wrong'):
        exit_status(work)


def test_a_folder_is_no_type(tmp_path, monkeypatch):
    (tmp_path / 'DDK').mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UnknownNameError, match='DKD'):
        DISTILLERS.build(dict(type='DDK'))


def test_teacher_without_weights_is_refused():
    with pytest.raises(ValueError, match='random weights: set model.teacher.checkpoint'):
        build(teacher=dict(TINY), distillers=[dict(type='KD')])


def test_distillers_without_teacher_are_refused():
    with pytest.raises(ValueError, match='model.teacher is None'):
        build(distillers=[dict(type='KD')])


def test_missing_teacher_says_how_to_train_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = 'work_dirs/classification/vanilla/resnet20_digits/student.safetensors'
    with pytest.raises(FileNotFoundError, match='python tools/train.py configs/classification/vanilla/resnet20_digits.py'):
        build(teacher=dict(TINY, checkpoint=path), distillers=[dict(type='KD')])


def test_other_classes_say_both_numbers():
    with pytest.raises(ValueError, match='teacher has 7 classes and the student 10'):
        build(teacher=dict(TINY, num_classes=7, untrained=True), distillers=[dict(type='KD')])
    with pytest.raises(ValueError, match='student has 7 outputs and the task 10 classes'):
        build(student=dict(TINY, num_classes=7))


def test_unknown_tap_lists_near_ones():
    with pytest.raises(UnknownNameError, match='layer2'):
        build(teacher=dict(TINY, untrained=True), distillers=[dict(type='FitNets', student_layer='layr2')])


def test_missing_view_is_said(tiny):
    with pytest.raises(ValueError, match="reads the view 'strong'"):
        Runner.from_cfg(tiny(distillers=[dict(type='CRLD')])).train()


def test_fp16_needs_cuda():
    if torch.cuda.is_available():
        pytest.skip('has CUDA')
    with pytest.raises(ValueError, match='fp16 needs a CUDA GPU.*bf16'):
        OptimWrapper(torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1), amp='fp16')


def test_non_finite_loss_names_step_term_and_checkpoint(tiny):
    """The first epoch's checkpoint survives; the weights were not touched by the broken step."""
    cfg = tiny(distillers=[dict(type='KD', weight=dict(start=0.0, end=1e300, begin=0.5))], epochs=2)
    cfg.optim_wrapper.optimizer.lr = 1e-3
    with pytest.raises(NonFiniteLossError) as error:
        train(cfg)
    message = str(error.value)
    assert 'epoch 2, iteration' in message and 'kd = inf' in message and 'epoch_1.pth' in message
    assert torch.load(f'{cfg.work_dir}/epoch_1.pth', weights_only=True)['meta']['epoch'] == 1


def test_unknown_config_suggests_near_ones():
    with pytest.raises(FileNotFoundError, match='kd/resnet20_resnet8half_digits.py'):
        prepare_config('configs/classification/kd/resnet20_resnet8_digits.py')


def test_work_dirs_follow_the_config_tree():
    assert default_work_dir('configs/classification/kd/a_b_c.py') == 'work_dirs/classification/kd/a_b_c'


def test_unlabelled_data(tiny):
    cfg = tiny(distillers=[dict(type='KD')], epochs=1)
    cfg.train_dataloader.dataset.labelled = False
    with pytest.raises(ValueError, match='task.loss_weight=0'):
        train(cfg)
    cfg.model.task.loss_weight = 0
    assert train(cfg)['last']['top1'] >= 0
    cfg.model.distillers = [dict(type='DKD')]
    with pytest.raises(ValueError, match='labels'):
        train(cfg)


def test_empty_student_is_refused(tiny):
    cfg = tiny(epochs=1)
    runner = Runner.from_cfg(cfg)
    runner.bare_model.student.requires_grad_(False)
    with pytest.raises(ValueError, match='Nothing to train'):
        runner.train()
