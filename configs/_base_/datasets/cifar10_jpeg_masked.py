"""CIFAR-10-JPEG for masked autoencoders: 64 patches of 4x4, of which 16 stay visible; no labels."""
_base_ = 'cifar10_jpeg.py'
task = dict(_delete_=True, type='MaskedImages', input_shape=(3, 32, 32), patch_size=4, mask_ratio=0.75)
val_evaluator = dict(_delete_=True, type='ReconstructionMetric')
test_evaluator = val_evaluator
