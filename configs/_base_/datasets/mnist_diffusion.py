"""MNIST for diffusion: grey 28x28 in -1..1 with labels; judged on the first 500 test images by a ResNet-8 trained on MNIST."""
dataset_name = 'MNIST (first 3,000 test images)'
num_classes = 10

train_dataloader = dict(
    dataset=dict(type='NpzDataset', path='{{$ZOO_DATA:data}}/mnist.npz', train=True, name=dataset_name, channels=1),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='zoo.collate_batch'),
    batch_size=64,
    drop_last=False,
    num_workers=0)
val_dataloader = dict(
    dataset=dict(type='NpzDataset', path='{{$ZOO_DATA:data}}/mnist.npz', train=False, name=dataset_name, channels=1,
                 subset=500),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='zoo.collate_batch'),
    batch_size=250,
    drop_last=False,
    num_workers=0)
test_dataloader = val_dataloader

# without the file of the classifier: python tools/train.py configs/classification/vanilla/resnet8_mnist.py
val_evaluator = dict(
    type='GenerationMetric', name='mnist_resnet8', pad=2,
    network='work_dirs/classification/vanilla/resnet8_mnist/student.safetensors')
test_evaluator = val_evaluator

data_preprocessor = dict(type='BatchPreprocessor', mean=(0.5,), std=(0.5,))
task = dict(type='Diffusion', input_shape=(1, 28, 28), num_classes=num_classes)
