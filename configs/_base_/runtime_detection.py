"""The runtime of detection runs: COCO's mAP decides which epoch is the best."""
_base_ = 'runtime.py'
default_hooks = dict(logger=dict(type='RecordHook', monitor='coco/bbox_mAP'))
custom_hooks = [dict(type='ClassTableHook')]
