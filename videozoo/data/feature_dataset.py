"""Videos with stored features: what data sets of segments, captions and queries have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from videozoo.contracts.dataset import Dataset
from videozoo.contracts.features import Features
from videozoo.contracts.record import FeatureRecord, Holds
from videozoo.data.files import some_of
from videozoo.errors import DataError, counted
from videozoo.io.features import FeatureStore

__all__ = ["FeatureDataset", "Missing", "StoredRecord", "key_in", "without_features"]

R = TypeVar("R", bound=FeatureRecord, covariant=True)
Missing = Literal["keep", "skip"]  # what becomes of videos without features


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredRecord(FeatureRecord):
    """A record whose features lie in a store, under a key, and are read when asked for."""

    id: str
    store: FeatureStore = dataclasses.field(repr=False)
    key: str

    @property
    def location(self) -> str:
        return self.store.place(self.key)

    @property
    def origin(self) -> tuple[Path, tuple[Hashable, ...]]:
        return self.store.path, (self.id,)

    def features(self) -> Features:
        return self.store.read(self.key)


@dataclasses.dataclass(frozen=True)
class FeatureDataset(Dataset[R]):
    """Records whose features are read when asked for.

    Attributes:
        class_names: the classes, or the words, that what is told of the records is made of.
        records: with ids that are unique.
        store: the videos' features; None where the records bring windows of their own.
        source: the file it was read from.
        notes: what was cut, left out or is missing, one sentence each.
    """

    holds: ClassVar[Holds] = "features"

    class_names: tuple[str, ...]
    records: list[R] = dataclasses.field(repr=False)
    store: FeatureStore | None = dataclasses.field(repr=False)
    source: str = "data set"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> R:
        return self.records[index]

    def __iter__(self) -> Iterator[R]:
        return iter(self.records)

    @property
    def feature_recipe(self) -> dict[str, Any] | None:
        """How the features were made; None for other projects' files."""
        recipe = self.store.recipe if self.store is not None else None
        return recipe.to_dict() if recipe is not None else None

    @property
    def extractor(self) -> Path | None:
        """The weight file that makes such features of other videos, if it lies beside them."""
        return self.store.extractor if self.store is not None else None


def key_in(store: FeatureStore, id_: str) -> str:
    """What the store calls a video: ActivityNet's ids stand with `v_` before them, or without."""
    bare = id_.removeprefix("v_")
    return next((key for key in (id_, f"v_{bare}", bare) if key in store), id_)


def without_features(store: FeatureStore, keys: Mapping[str, str], *, path: Path) -> list[str]:
    """The videos of the annotation file `path` that the store lacks; `keys` says what it would call each.

    Raises:
        DataError: it has none of them.
    """
    missing = [video for video, key in keys.items() if key not in store]
    if len(missing) == len(keys):
        raise DataError(
            f"{store.path}: has no features of the {counted(len(keys), 'video')} in {path}; it has those of "
            f"{some_of(store.ids, 2)}, the videos are {some_of(missing, 2)}"
        )
    return missing
