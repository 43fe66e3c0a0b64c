"""A config's length changed as a whole: epochs and everything that its schedule counts in epochs."""
from mmengine.config import Config

#: options of a scheduler that name an epoch (or a list of them), and so move with the length of the run
POSITIONS = ('begin', 'end', 'T_max', 'milestones', 'step_size', 'total_iters')


def set_epochs(config: Config, epochs: int) -> Config:
    """Give a run another number of epochs, in place; its learning-rate schedule keeps its shape.

    A scheduler's part that began at the first epoch and ended before the last (a warm-up) keeps its length where it
    still fits, and the parts after it fill the rest; other positions move in proportion.

    Args:
        config: with ``train_cfg.max_epochs`` and perhaps ``param_scheduler``.
        epochs: at least 1.

    Returns:
        The same config.

    Raises:
        ValueError: for fewer than 1 epoch, or a config that is not counted in epochs.
    """
    if epochs < 1:
        raise ValueError(f'A run has at least 1 epoch, not {epochs}.')
    old = (config.get('train_cfg') or {}).get('max_epochs')
    if not old:
        raise ValueError('This config has no train_cfg.max_epochs, so its length cannot be set in epochs.')
    config.train_cfg.max_epochs = epochs
    if epochs == old or not config.get('param_scheduler'):
        return config
    schedulers = config.param_scheduler if isinstance(config.param_scheduler, list) else [config.param_scheduler]
    by_epoch = [s for s in schedulers if s.get('by_epoch', True)]
    warmup = max((s['end'] for s in by_epoch if s.get('begin', 0) == 0 and s.get('end', old) < old), default=0)
    if warmup >= epochs:  # no room for it: the run would end before its full learning rate
        config.param_scheduler = [s for s in schedulers if s not in by_epoch or s.get('end', old) > warmup]
        by_epoch = [s for s in by_epoch if s.get('end', old) > warmup]
        new_warmup = 0
    else:
        new_warmup = warmup

    def moved(position: int) -> int:
        if position <= warmup:
            return min(position, new_warmup)
        return new_warmup + max(1, round((position - warmup) * (epochs - new_warmup) / (old - warmup)))

    for scheduler in by_epoch:
        begin = scheduler.get('begin', 0)
        for key in POSITIONS:
            value = scheduler.get(key)
            if isinstance(value, (list, tuple)):
                scheduler[key] = [moved(v) for v in value]
            elif value is None or value > 10 * old:  # mmengine's "without end" is a huge number
                continue
            elif key in ('begin', 'end', 'milestones'):
                scheduler[key] = moved(value)
            else:  # lengths, counted from the scheduler's own beginning
                scheduler[key] = max(1, moved(begin + value) - moved(begin))
    return config
