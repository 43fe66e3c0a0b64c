"""Pipelines of mmdet's and mmseg's transforms, in those libraries' own terms, for data sets that read images themselves."""
import importlib
from collections.abc import Callable, Mapping, Sequence

from zoo.registry import TRANSFORMS, UnknownNameError, unknown


def import_openmmlab(library: str):
    """The registries of ``mmdet`` or ``mmseg``, imported with the zoo's stand-ins for mmcv's compiled operators.

    Raises:
        MissingPackageError: if it is not installed, with how to install it.
    """
    from zoo.models.openmmlab import require
    require(library)
    return importlib.import_module(f'{library}.registry')


class DensePipeline:
    """A list of transforms of one results dict: ``pipeline(results) -> results``, or None where one gives None.

    Entries are configs or callables. A name without a scope means the zoo's transform, else that of ``library``, else
    mmcv's, so that pipelines of mmdet's and mmseg's configs can be used as they stand; nested ``transforms`` too. The
    zoo's data sets read images (and label maps) themselves, from zip files as well: ``LoadImageFromFile`` is left out,
    and mmseg's ``LoadAnnotations`` becomes :class:`zoo.data.LoadLabelMap` in the same place.

    Args:
        transforms: the entries, in order.
        library: ``'mmdet'`` or ``'mmseg'``.

    Raises:
        UnknownNameError: for a name that nobody knows, with near names.
        MissingPackageError: if ``library`` is not installed.
    """

    def __init__(self, transforms: Sequence[Mapping | Callable], library: str):
        if isinstance(transforms, (Mapping, str)):
            raise ValueError('pipeline must be a list; put the single transform in a list.')
        self.library = library
        self.steps = [step if callable(step) else TRANSFORMS.build(step)
                      for step in scoped_transforms(transforms, library, reads_images=True)]

    def __call__(self, results: dict) -> dict | None:
        for step in self.steps:
            results = step(results)
            if results is None:
                return None
        return results

    def __len__(self) -> int:
        return len(self.steps)


def scoped_transforms(transforms: Sequence, library: str, *, reads_images: bool = False) -> list:
    """``transforms`` with each unscoped name of ``library`` (or of the zoo) written in full, nested ones too.

    Args:
        reads_images: leave image loaders out and let :class:`zoo.data.LoadLabelMap` stand for mmseg's annotations.
    """
    registry = import_openmmlab(library).TRANSFORMS
    registry.import_from_location()
    own, theirs = set(TRANSFORMS.names()), registry.module_dict
    steps = []
    for entry in transforms:
        if not isinstance(entry, Mapping):
            steps.append(entry)
            continue
        entry = dict(entry)
        name = entry.get('type')
        if name is None:
            raise ValueError(f"A transform needs a type, for example dict(type='RandomFlip', prob=0.5), got {entry}.")
        if isinstance(name, str):
            plain = name.rpartition('.')[2]
            if reads_images and plain == 'LoadImageFromFile':
                continue
            if reads_images and library == 'mmseg' and plain == 'LoadAnnotations':
                entry = dict(type='zoo.LoadLabelMap')
            elif '.' not in name:
                entry['type'] = f'zoo.{name}' if name in own else f'{library}.{name}' if name in theirs else name
                if entry['type'] == name and name not in TRANSFORMS.parent.module_dict:
                    raise UnknownNameError(unknown(f'transform of {library} or the zoo', name, {*own, *theirs}))
        inner = entry.get('transforms')
        # albumentations' own names are no business of a registry
        if isinstance(inner, (list, tuple)) and not entry['type'].endswith(('.Albu', '.DenseAlbumentations')):
            nested = any(isinstance(item, (list, tuple)) for item in inner)
            entry['transforms'] = [scoped_transforms(item if isinstance(item, (list, tuple)) else [item], library,
                                                     reads_images=reads_images) for item in inner]
            if not nested:
                entry['transforms'] = [step for steps_ in entry['transforms'] for step in steps_]
        steps.append(entry)
    return steps
