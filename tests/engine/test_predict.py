"""tools/predict.py: classification, detection and segmentation on tiny networks, good and bad files."""
import json

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.engine import predict, prepare_config
from zoo.engine.drawing import draw_boxes, grid, legend, paint_label_map
from zoo.models import build_network
from zoo.models.released import save_released

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)



def detector():
    model = dict(
        data_preprocessor=dict(type='DetDataPreprocessor', mean=MEAN, std=STD, bgr_to_rgb=True, pad_size_divisor=32),
        backbone=dict(base_channels=4), neck=dict(in_channels=[4, 8, 16, 32], out_channels=8),
        bbox_head=dict(in_channels=8, feat_channels=8, stacked_convs=1),
        test_cfg=dict(score_thr=0.0, nms_pre=50, max_per_img=5))
    config = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'
    return build_network(dict(type='MMDetModel', config=config, num_classes=2, model=model))


def segmentor():
    return build_network(dict(type='MMSegModel', num_classes=3, model=dict(
        type='EncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor', mean=MEAN, std=STD, bgr_to_rgb=True, size=(32, 32)),
        backbone=dict(type='ResNet', depth=18, base_channels=4, norm_cfg=dict(type='BN')),
        decode_head=dict(type='FCNHead', in_channels=32, in_index=3, channels=8, num_convs=1, num_classes=3,
                         norm_cfg=dict(type='BN')), train_cfg={}, test_cfg=dict(mode='whole'))))


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)).save(folder / 'a.png')
    Image.fromarray(rng.integers(0, 256, (30, 30), dtype=np.uint8)).save(folder / 'grey.jpg')
    (folder / 'notes.txt').write_text('no image')
    return folder


@pytest.fixture
def classifier_file(tmp_path):
    torch.manual_seed(0)
    return save_released(build_network(dict(type='resnet8', num_classes=6)), tmp_path / 'student.safetensors',
                         preprocess=dict(input_shape=[3, 16, 16], mean=[0.5] * 3, std=[0.25] * 3),
                         class_names=['ant', 'bee', 'cat', 'dog', 'eel', 'fox'])


def test_top_five(images, classifier_file, tmp_path, capsys):
    results = predict.run([images], checkpoint=classifier_file, out=tmp_path / 'out')
    assert [result['image'] for result in results] == [str(images / 'a.png'), str(images / 'grey.jpg')]
    for result in results:
        values = [entry['probability'] for entry in result['classes']]
        assert len(values) == 5 and values == sorted(values, reverse=True) and 0 < sum(values) < 1
    printed = capsys.readouterr().out
    assert '%' in printed and results[0]['classes'][0]['name'] in printed
    assert json.loads((tmp_path / 'out' / 'predictions.json').read_text()) == results


def test_classification_equals_the_network_by_hand(classifier_file, tmp_path):
    image = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    predictor = predict.load_predictor(classifier_file)
    inputs = (torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.25
    with torch.no_grad():
        expected = torch.softmax(predictor.net(inputs)[0], 0)
    found = predictor(image)
    np.testing.assert_allclose(found.scores, expected.sort(descending=True).values.numpy(), rtol=1e-5)
    assert found.labels[0] == int(expected.argmax())


def test_a_config_gives_its_test_sets_transforms(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(
        "model = dict(type='Distillation', student=dict(type='resnet8', num_classes=10))\n"
        "task = dict(type='Classification', num_classes=10, input_shape=(3, 16, 16))\n"
        "data_preprocessor = dict(type='BatchPreprocessor', mean=(0.3,) * 3, std=(0.3,) * 3)\n"
        "test_dataloader = dict(dataset=dict(type='Digits', train=False, size=16,\n"
        "    transforms=[dict(type='A.InvertImg', p=1.0)]))\n")
    torch.manual_seed(0)
    net = build_network(dict(type='resnet8', num_classes=10))
    torch.save(net.state_dict(), tmp_path / 'weights.pth')
    image = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / 'x.png')
    result, = predict.run([tmp_path / 'x.png'], config=config, checkpoint=tmp_path / 'weights.pth', out=tmp_path / 'out')
    inputs = ((255 - torch.from_numpy(image)).permute(2, 0, 1)[None].float() / 255 - 0.3) / 0.3
    with torch.no_grad():
        expected = torch.softmax(net.eval()(inputs)[0], 0)
    assert result['classes'][0]['name'] == str(int(expected.argmax()))
    assert result['classes'][0]['probability'] == pytest.approx(float(expected.max()), rel=1e-4)


def test_bad_files_are_skipped_with_one_sentence_each(images, classifier_file, tmp_path, capsys):
    whole = (images / 'a.png').read_bytes()
    (tmp_path / 'cut.png').write_bytes(whole[:len(whole) // 2])
    files = [images / 'notes.txt', tmp_path / 'cut.png', images / 'aa.png', images / 'a.png']
    results = predict.run(files, checkpoint=classifier_file, out=tmp_path / 'out')
    assert [result['image'] for result in results] == [str(images / 'a.png')]
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 4
    assert 'notes.txt is not an image' in lines[0] and 'cut.png is damaged' in lines[1]
    assert 'Did you mean a.png' in lines[2] and lines[3] == '1 images predicted, 3 skipped'
    with pytest.raises(ValueError, match='None of the 1 files'):
        predict.run([images / 'notes.txt'], checkpoint=classifier_file, out=tmp_path / 'out')
    empty = tmp_path / 'empty'
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match='no images'):
        predict.run([empty], checkpoint=classifier_file, out=tmp_path / 'out')


def test_what_is_missing_is_said(images, tmp_path, classifier_file):
    with pytest.raises(FileNotFoundError, match='no checkpoint'):
        predict.run([images], checkpoint=tmp_path / 'none.safetensors')
    torch.save({}, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match='add --config'):
        predict.run([images], checkpoint=tmp_path / 'x.pth')
    with pytest.raises(ValueError, match='No images'):
        predict.run([], checkpoint=classifier_file)
    with pytest.raises(ValueError, match='--from-data'):
        predict.run([images], checkpoint=classifier_file, from_data=3)
    with pytest.raises(ValueError, match='detectors or segmentors'):
        predict.run([images], checkpoints=[f'a={classifier_file}'], out=tmp_path / 'out')
    with pytest.raises(KeyError, match='Two of --compare'):
        predict.named_checkpoints(['a=x', 'a=y'])


def test_detection(images, tmp_path):
    pytest.importorskip('mmdet')
    torch.manual_seed(0)
    net = detector()
    path = save_released(net, tmp_path / 'd.safetensors', preprocess=dict(input_shape=[3, 64, 64]),
                         class_names=['cell', 'disc'])
    results = predict.run([images], checkpoint=path, out=tmp_path / 'out', score_threshold=0.0)
    for result in results:
        height, width = np.asarray(Image.open(result['image'])).shape[:2]
        assert 0 < len(result['boxes']) <= 5
        for box in result['boxes']:
            assert box['name'] in ('cell', 'disc')
            assert -1 <= box['xyxy'][0] <= box['xyxy'][2] <= width + 1 and -1 <= box['xyxy'][1] <= box['xyxy'][3] <= height + 1
        picture = np.asarray(Image.open(result['picture']))
        assert picture.shape[0] % height == 0 and picture.shape[1] % width == 0
    none = predict.run([images], checkpoint=path, out=tmp_path / 'out', score_threshold=1.1)
    assert not any(result['boxes'] for result in none)


def test_segmentation(images, tmp_path):
    pytest.importorskip('mmseg')
    torch.manual_seed(0)
    path = save_released(segmentor(), tmp_path / 's.safetensors', preprocess=dict(input_shape=[3, 32, 32]),
                         class_names=['sky', 'road', 'car'])
    result, _ = predict.run([images], checkpoint=path, out=tmp_path / 'out')
    assert sum(entry['share'] for entry in result['classes']) == pytest.approx(1, abs=1e-4)
    picture = np.asarray(Image.open(result['picture']))
    assert picture.shape[1] % 56 == 0 and picture.shape[0] > 40 * picture.shape[1] // 56  # the legend is below
    found = predict.load_predictor(path)(predict.read_image(images / 'a.png'))
    assert found.label_map.shape == (40, 56)


@pytest.mark.parametrize('form', ['detection', 'segmentation'])
def test_compare_with_ground_truth(form, tmp_path):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    from zoo.data import DigitScenes
    dataset = DigitScenes(train=False, form=form, scenes=3, size=48)
    images, truth = predict.images_with_truth(dataset, 2)
    path = save_released(detector() if form == 'detection' else segmentor(), tmp_path / 'n.safetensors',
                         preprocess=dict(input_shape=[3, 64, 64]))
    predictor = predict.load_predictor(path)
    out = predict.compare_predictions(images, {'one': predictor, 'two': predictor}, tmp_path / 'c.png', truth=truth,
                                      score_threshold=0.2)
    picture = np.asarray(Image.open(out))
    side = 48 * 7
    assert picture.shape[1] == 4 * (side + 6) + 6 and picture.shape[0] > 2 * (side + 6)
    wide = predict.compare_predictions([*images, images[0]], {'one': predictor}, tmp_path / 'w.png', columns=2)
    assert Image.open(wide).size[0] == 4 * (side + 6) + 6 and Image.open(wide).size[1] > 2 * (side + 6)
    # both models are the same, and the truth is not the image
    cell = [picture[24:24 + side, 6 + k * (side + 6):6 + k * (side + 6) + side] for k in range(4)]
    assert (cell[2] == cell[3]).all() and (cell[0] != cell[1]).any()


def test_comparison_from_a_config(tmp_path, capsys):
    pytest.importorskip('mmdet')
    config = tmp_path / 'config.py'
    config.write_text(
        "model = dict(type='Distillation', student=dict(type='MMDetModel'))\n"
        "task = dict(type='Detection', num_classes=10, input_shape=(3, 64, 64))\n"
        "test_dataloader = dict(dataset=dict(type='DigitScenes', train=False, scenes=2, size=64, pipeline=[\n"
        "    dict(type='mmdet.LoadAnnotations', with_bbox=True), dict(type='mmdet.PackDetInputs')]))\n")
    path = save_released(detector(), tmp_path / 'd.safetensors', preprocess=dict(input_shape=[3, 64, 64]))
    out = predict.run(config=config, checkpoints=[f'tiny={path}'], from_data=2, out=tmp_path / 'out')
    assert out == tmp_path / 'out' / 'compare.png' and out.is_file()


@pytest.mark.parametrize('kind', ['Detection', 'Segmentation'])
def test_plain_weights_with_a_config(kind, images, tmp_path):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    torch.manual_seed(0)
    net = detector() if kind == 'Detection' else segmentor()
    torch.save(net.state_dict(), tmp_path / 'weights.pth')
    library = 'mmdet' if kind == 'Detection' else 'mmseg'
    pack = 'PackDetInputs' if kind == 'Detection' else 'PackSegInputs'
    load = "dict(type='mmdet.LoadAnnotations')" if kind == 'Detection' else "dict(type='LoadLabelMap')"
    classes = 2 if kind == 'Detection' else 3
    names = 'classes' if kind == 'Detection' else 'class_names'
    (tmp_path / 'config.py').write_text(
        f'model = dict(type="Distillation", student={net.build_config!r})\n'
        f'task = dict(type="{kind}", num_classes={classes}, input_shape=(3, 64, 64))\n'
        f'data_preprocessor = dict(type="{library}.{type(net.data_preprocessor).__name__}", mean={MEAN}, std={STD},\n'
        f'    bgr_to_rgb=True, {"pad_size_divisor=32" if kind == "Detection" else "size=(32, 32)"})\n'
        f'test_dataloader = dict(dataset=dict(type="Nowhere", {names}=["x", "y", "z"], pipeline=[\n'
        f'    dict(type="{library}.Resize", scale=(48, 48), keep_ratio=True), {load}, dict(type="{library}.{pack}")]))\n')
    predictor = predict.load_predictor(tmp_path / 'weights.pth', prepare_config(tmp_path / 'config.py'))
    assert predictor.class_names == ['x', 'y', 'z']
    image = predict.read_image(images / 'a.png')
    data = predictor.prepare(image)
    assert data['inputs'][0].shape == (3, 34, 48) and data['data_samples'][0].ori_shape == (40, 56)
    direct = predict.Predictor(net, predictor.kind, predictor.prepare, lambda data: net.data_preprocessor(data, False))(image)
    found = predictor(image)
    if kind == 'Detection':
        assert len(found.scores) and np.array_equal(found.boxes, direct.boxes)
    else:
        assert found.label_map.shape == (40, 56) and np.array_equal(found.label_map, direct.label_map)


# ---- drawing

def test_boxes_are_drawn_where_they_are():
    image = np.zeros((400, 400, 3), np.uint8)
    picture = draw_boxes(image, np.array([[100, 200, 150, 260]]), [1], ['a', 'b'], [(255, 0, 0), (0, 255, 0)])
    assert (picture[230, 100] == (0, 255, 0)).all() and (picture[259, 120] == (0, 255, 0)).all()
    assert (picture[230, 120] == 0).all()
    assert (image == 0).all()


def test_painted_classes_and_ignored_pixels():
    image = np.full((400, 400, 3), 100, np.uint8)
    labels = np.zeros((400, 400), np.uint8)
    labels[:200], labels[300:] = 1, 255
    painted = paint_label_map(image, labels, [(0, 0, 0), (200, 100, 0)], strength=0.5)
    assert [tuple(painted[row, 0]) for row in (0, 250, 399)] == [(150, 100, 50), (50, 50, 50), (30, 30, 30)]


def test_legend_and_grid_hold_everything():
    names = [f'class number {k}' for k in range(30)]
    picture = legend(names, [(k, 0, 0) for k in range(30)], 300)
    assert picture.shape[1] == 300 and picture.shape[0] > 10 * 20
    cell = np.zeros((10, 20, 3), np.uint8)
    whole = grid([[cell, cell], [cell, np.zeros((20, 40, 3), np.uint8)]], ['a', 'b'], picture)
    assert whole.shape == (24 + 2 * 26 + picture.shape[0] + 6, 300, 3)
