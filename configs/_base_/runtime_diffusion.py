"""The runtime of diffusion runs: the student's average is judged and released; of scores, less is better."""
_base_ = 'runtime.py'
default_hooks = dict(logger=dict(type='RecordHook', rule='less'))
custom_hooks = [dict(type='EMAHook', decay=0.998)]
