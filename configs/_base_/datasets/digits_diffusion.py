"""scikit-learn digits for diffusion: grey 16x16 in -1..1 with labels; judged by the ResNet-20 that comes with the zoo."""
dataset_name = 'digits'
num_classes = 10

train_dataloader = dict(
    dataset=dict(type='Digits', train=True, size=16, channels=1),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='zoo.collate_batch'),
    batch_size=64,
    drop_last=False,
    num_workers=0)
val_dataloader = dict(
    dataset=dict(type='Digits', train=False, size=16, channels=1),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='zoo.collate_batch'),
    batch_size=180,
    drop_last=False,
    num_workers=0)
test_dataloader = val_dataloader

val_evaluator = dict(type='GenerationMetric', name='digits_resnet20', network='zoo://resnet20_digits')
test_evaluator = val_evaluator

data_preprocessor = dict(type='BatchPreprocessor', mean=(0.5,), std=(0.5,))
task = dict(type='Diffusion', input_shape=(1, 16, 16), num_classes=num_classes)
