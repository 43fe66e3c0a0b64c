"""What every run has: registries' scope, checkpoints, backends for scalars."""
default_scope = 'zoo'
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1))
# add dict(type='TensorboardVisBackend') (or another of mmengine's backends) to see curves while it runs
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
env_cfg = dict(cudnn_benchmark=True)
val_cfg = dict(type='EvalLoop')
test_cfg = dict(type='EvalLoop', remember_teacher=False)
