"""mmdet's and mmseg's own data sets, drawn reproducibly."""
from collections.abc import Mapping

from torch.utils.data import Dataset

from zoo.data.annotated_images import distinct_colours
from zoo.data.dense_pipeline import import_openmmlab, scoped_transforms
from zoo.data.global_draws import global_draws
from zoo.data.seeding import EpochSeeded
from zoo.data.subsets import subset_positions
from zoo.registry import DATASETS


@DATASETS.register_module()
class OpenMMLabDataset(EpochSeeded, Dataset):
    """A data set of mmdet or mmseg, such as Cityscapes, as the zoo wants it: all draws of a sample depend on ``(seed, epoch,
    index)`` alone, so that runs resume exactly, and missing files are said in one sentence. Their wrappers go too, such as
    ``mmdet.MultiImageMixDataset`` (mosaics) around a data set of the zoo, ``dict(type='zoo.CocoDetection', ...)``.

    Args:
        dataset: its config: ``dict(type='mmseg.CityscapesDataset', ...)``. In its ``pipeline`` plain names mean transforms of
            the zoo, else of that library, else mmcv's.
        name: for tables; the class's name if None.
        subset, subset_seed: see :func:`zoo.data.subset_positions`.
        seed: of the draws.

    Raises:
        FileNotFoundError: where its files are not.
    """

    def __init__(self, dataset: Mapping, name: str | None = None, subset: int | float | None = None, subset_seed: int = 0,
                 seed: int | None = None):
        super().__init__(seed)
        dataset = dict(dataset)
        library = str(dataset.get('type', '')).partition('.')[0]
        if library not in ('mmdet', 'mmseg'):
            raise ValueError(f"OpenMMLabDataset wants a dataset of mmdet or mmseg with its scope, such as "
                             f"dict(type='mmseg.CityscapesDataset', ...), got {dataset.get('type')!r}.")
        import_openmmlab(library)
        self._scope_pipelines(dataset, library)
        try:
            self.dataset = DATASETS.build(dataset)
            self.dataset.full_init()
        except (AssertionError, NotADirectoryError, FileNotFoundError) as error:
            raise FileNotFoundError(f'{dataset["type"]}: its files are not (all) where the config says '
                                    f'(data_root {dataset.get("data_root")!r}): {error}') from error
        kept = subset_positions(None, len(self.dataset), subset, subset_seed) if len(self.dataset) else None
        self.positions = None if kept is None else kept.tolist()
        if not len(self.dataset):
            raise FileNotFoundError(f'{dataset["type"]} found no images under data_root {dataset.get("data_root")!r} '
                                    f'(data_prefix {dataset.get("data_prefix")!r}).')
        self.name = type(self.dataset).__name__ if name is None else name
        self.class_names = [str(entry) for entry in self.dataset.metainfo.get('classes', ())]
        self.num_classes = len(self.class_names)
        palette = self.dataset.metainfo.get('palette')
        self.palette = [tuple(colour) for colour in palette] if palette else distinct_colours(self.num_classes)

    @staticmethod
    def _scope_pipelines(dataset: dict, library: str) -> None:
        if isinstance(dataset.get('pipeline'), (list, tuple)):
            dataset['pipeline'] = scoped_transforms(dataset['pipeline'], library)
        for key in ('dataset', 'datasets'):
            inner = dataset.get(key)
            parts = inner if isinstance(inner, (list, tuple)) else [inner] if isinstance(inner, Mapping) else []
            parts = [dict(part) for part in parts]
            for part in parts:
                OpenMMLabDataset._scope_pipelines(part, library)
            if parts:
                dataset[key] = parts[0] if isinstance(inner, Mapping) else parts

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        parts = [self.dataset]
        while parts:  # the zoo's data sets inside mmdet's wrappers
            part = parts.pop()
            if hasattr(part, 'set_epoch'):
                part.run_seed = self.run_seed
                part.set_epoch(epoch)
            parts += [getattr(part, 'dataset', None)] if hasattr(part, 'dataset') else list(getattr(part, 'datasets', ()))

    @property
    def metainfo(self) -> dict:
        """The data set's own: classes, palette and more."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """It is whole since it was built."""

    def get_data_info(self, index: int) -> dict:
        """As of the data set itself."""
        return self.dataset.get_data_info(self._position(index))

    def get_cat_ids(self, index: int) -> list[int]:
        """As of the data set itself."""
        return self.dataset.get_cat_ids(self._position(index))

    def __len__(self) -> int:
        return len(self.dataset) if self.positions is None else len(self.positions)

    def __getitem__(self, index: int) -> dict:
        index = int(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f'{self.name} has {len(self)} images; there is no number {index}.')
        index %= len(self)
        with global_draws(self.random_generator(index)):
            sample = self.dataset[self._position(index)]
        facts = sample.get('data_samples') if isinstance(sample, Mapping) else None
        if facts is not None and hasattr(facts, 'set_metainfo'):
            facts.set_metainfo(dict(sample_idx=index))
        return sample

    def _position(self, index: int) -> int:
        return index if self.positions is None else self.positions[index]

    def __repr__(self) -> str:
        return f'OpenMMLabDataset({self.name}, {len(self)} images, {self.num_classes} classes)'
