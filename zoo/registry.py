"""The zoo's registries: children of mmengine's roots, scope ``zoo``, whose modules are imported on first use.

A config says ``type='resnet20'`` and, with ``default_scope = 'zoo'``, finds ``zoo.models.resnet20``; what the zoo does
not know is looked up in mmengine (``type='SGD'``) or under an explicit scope (``type='mmdet.GFL'``).

>>> from zoo.registry import MODELS
>>> net = MODELS.build(dict(type='resnet8', num_classes=10))
"""
import difflib
import inspect
import re
import traceback

from mmengine import registry as root

#: scopes whose packages are imported through :func:`zoo.models.openmmlab.require`
OPENMMLAB = ('mmdet', 'mmseg')


class UnknownNameError(KeyError):
    """A name that no registry knows; the message lists the nearest names."""

    def __str__(self) -> str:
        return self.args[0]


def near_names(name: str, known, *, limit: int = 5) -> list[str]:
    """The entries of ``known`` that look most like ``name``, best first; case and punctuation count for nothing."""
    plain = {}
    for entry in known:
        plain.setdefault(entry.lower().replace('_', '').replace('-', ''), entry)
    wanted = name.lower().replace('_', '').replace('-', '')
    hits = difflib.get_close_matches(wanted, plain, n=limit, cutoff=0.5)
    hits += [key for key in plain if wanted and wanted in key and key not in hits]
    return [plain[key] for key in hits[:limit]]


def unknown(kind: str, name: str, known) -> str:
    """One sentence for an unknown name: what it was, the nearest names, or all names if none is near."""
    close = near_names(name, known)
    known = sorted(set(known), key=lambda entry: (entry.count('.'), entry))  # of modules' paths the outer ones first
    more = f' and {len(known) - 40} more' if len(known) > 40 else ''
    hint = f'Did you mean {", ".join(close)}?' if close else f'There are: {", ".join(known[:40])}{more}.'
    return f'Unknown {kind} {name!r}. {hint}'


def unknown_option(error: TypeError) -> str | None:
    """One sentence for an option in a config that the type it is given to does not take; None for any other error."""
    said = re.search(r"(?:(\w+)\.__init__\(\) )?got an unexpected keyword argument '(\w+)'", str(error))
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if frame.f_code.co_name.startswith('build_')]
    if said is None or not frames:
        return None
    refuser, option = said.groups()
    kind = next((frame.f_locals['obj_cls'] for frame in reversed(frames) if 'obj_cls' in frame.f_locals), None)
    if refuser and (kind is None or refuser not in (base.__name__ for base in inspect.getmro(kind))):
        return f'Unknown option of {refuser} {option!r}.'  # built by mmengine without a registry
    takes = [] if kind is None else _options(kind)
    return None if kind is None or option in takes else unknown(f'option of {kind.__name__}', option, takes)


def _options(kind) -> list[str]:
    takes = []
    for base in inspect.getmro(kind) if inspect.isclass(kind) else (kind,):
        call = vars(base).get('__init__') if inspect.isclass(base) else base
        if not inspect.isfunction(call):
            continue
        parameters = inspect.signature(call).parameters.values()
        takes += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != 'self']
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break  # else what it does not take itself goes to the next class
    return takes


class Registry(root.Registry):
    """mmengine's registry with an error that names the nearest entries.

    Raises:
        UnknownNameError: from :meth:`get` and :meth:`build`, where a name is in neither this registry nor its root.
        MissingPackageError: for a name of mmdet or mmseg (``'mmdet.CocoMetric'``) where that is not installed.
    """

    def get(self, key: str):
        if isinstance(key, str) and key.partition('.')[0] in OPENMMLAB:
            from zoo.models.openmmlab import require  # without it they cannot be imported where mmcv is not compiled
            require(key.partition('.')[0])
        found = super().get(key)
        if found is None or inspect.ismodule(found):  # mmengine imports whatever has the name, a folder too
            inherited = self.parent.module_dict if self.parent is not None else ()
            raise UnknownNameError(unknown(self.name, key, [*self.names(), *inherited]))
        return found

    def build(self, cfg, *args, **kwargs):
        try:
            return super().build(cfg, *args, **kwargs)
        except TypeError as error:
            said = unknown_option(error)
            if said is None:
                raise
            raise ValueError(said) from error

    def names(self) -> list[str]:
        """All names registered here (not in the parent), sorted; imports the registry's modules."""
        self.import_from_location()
        return sorted(self.module_dict)


def _child(name: str, parent, *locations: str) -> Registry:
    return Registry(name, parent=parent, scope='zoo', locations=list(locations))


MODELS = _child('model', root.MODELS, 'zoo.models', 'zoo.tasks', 'zoo.distillers', 'zoo.data')
DATASETS = _child('dataset', root.DATASETS, 'zoo.data')
TRANSFORMS = _child('transform', root.TRANSFORMS, 'zoo.data')
FUNCTIONS = _child('function', root.FUNCTIONS, 'zoo.data')
METRICS = _child('metric', root.METRICS, 'zoo.metrics')
HOOKS = _child('hook', root.HOOKS, 'zoo.engine')
LOOPS = _child('loop', root.LOOPS, 'zoo.engine')
RUNNERS = _child('runner', root.RUNNERS, 'zoo.engine')
OPTIM_WRAPPERS = _child('optimizer wrapper', root.OPTIM_WRAPPERS, 'zoo.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child('optimizer constructor', root.OPTIM_WRAPPER_CONSTRUCTORS, 'zoo.engine')
MODEL_WRAPPERS = _child('model wrapper', root.MODEL_WRAPPERS, 'zoo.engine')
LOG_PROCESSORS = _child('log processor', root.LOG_PROCESSORS)
# rooms where mmengine's own entries serve
OPTIMIZERS = _child('optimizer', root.OPTIMIZERS)
PARAM_SCHEDULERS = _child('parameter scheduler', root.PARAM_SCHEDULERS)
DATA_SAMPLERS = _child('sampler', root.DATA_SAMPLERS)
EVALUATOR = _child('evaluator', root.EVALUATOR)
VISUALIZERS = _child('visualizer', root.VISUALIZERS)
VISBACKENDS = _child('visualizer backend', root.VISBACKENDS)

# the zoo's own kinds
DISTILLERS = Registry('distiller', scope='zoo', locations=['zoo.distillers'])
CONNECTORS = Registry('connector', scope='zoo', locations=['zoo.connectors'])
TASKS = Registry('task', scope='zoo', locations=['zoo.tasks'])
