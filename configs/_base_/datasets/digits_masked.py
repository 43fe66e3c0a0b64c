"""scikit-learn digits for masked autoencoders: 16 patches of 4x4, of which 4 stay visible; no labels."""
_base_ = 'digits.py'
task = dict(_delete_=True, type='MaskedImages', input_shape=(3, 16, 16), patch_size=4, mask_ratio=0.75)
val_evaluator = dict(_delete_=True, type='ReconstructionMetric')
test_evaluator = val_evaluator
