"""The runtime of masked-image runs: reconstructions as a PNG after each evaluation, the encoder as a plain ViT at the end."""
_base_ = 'runtime.py'
default_hooks = dict(logger=dict(type='RecordHook', monitor='explained_variance'))
custom_hooks = [dict(type='ReconstructionHook'), dict(type='EncoderExportHook')]
