"""The parts of nested observations and actions in the episodes of a Minari data set.

A part is a field of its own, such as `observations/desired_goal`, until the parts are checked and
joined to rows.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import minari
import numpy as np

from dawm_jax.data.columns import ADVICE, FIELDS, Fields
from dawm_jax.data.spaces import Layout, Part
from dawm_jax.errors import DatasetError, UserError

NESTED = {"observations": "observation", "actions": "action"}  # fields of spaces, and their roles


@dataclass(frozen=True)
class StoredPart:
    """Where a part of a field is stored."""

    field: str
    part: Part | None = None  # None: the field has no parts

    @property
    def name(self) -> str:
        return "/".join(
            [self.field, self.part.name] if self.part and self.part.path else [self.field]
        )

    @property
    def hdf5(self) -> bytes:
        """Its name in an episode's group in Minari's HDF5 layout."""
        path = self.part.path if self.part else ()
        keys = (f"_index_{key}" if isinstance(key, int) else key for key in path)
        return "/".join([self.field, *keys]).encode()

    def of_episode(self, episode: minari.EpisodeData) -> np.ndarray:
        value = getattr(episode, self.field)
        return np.asarray(self.part.of_value(value) if self.part else value)


def layouts_of(dataset: minari.MinariDataset) -> dict[str, Layout]:
    """The layouts of observations and actions, by field.

    Raises:
        DatasetError: a space is not supported.
    """
    layouts = {}
    for field, role in NESTED.items():
        try:
            layouts[field] = Layout.of(getattr(dataset, f"{role}_space"))
        except UserError as error:
            raise DatasetError(f"'{dataset.id}' has {role} {error}.") from None
    return layouts


def stored_parts(dataset: minari.MinariDataset) -> dict[str, StoredPart]:
    """Everything that is read of an episode, by name."""
    layouts = layouts_of(dataset)
    parts = [
        StoredPart(field, part)
        for field in FIELDS
        for part in (layouts[field].parts if field in layouts else [None])
    ]
    return {part.name: part for part in parts}


def joined(name: str, episodes: Iterable[Fields], layouts: dict[str, Layout]) -> Iterator[Fields]:
    """The `episodes` of the data set `name` with the parts of each field as one array of rows.

    Raises:
        DatasetError: a part has another shape or type than its space; a field without parts is
            checked later.
    """
    nested = {field: layout for field, layout in layouts.items() if layout.parts[0].path}
    if not nested:
        yield from episodes
        return
    for number, episode in enumerate(episodes):
        fields = {field: episode[field] for field in FIELDS if field not in nested}
        steps = len(np.atleast_1d(fields["rewards"]))
        for field, layout in nested.items():
            rows = steps + (field == "observations")
            pieces = []
            for part in layout.parts:
                stored = StoredPart(field, part).name
                value: Any = episode[stored]
                shape = (rows, *part.box.shape)
                if value.shape != shape or value.dtype.kind not in "biuf":
                    raise DatasetError(
                        f"episode {number} of '{name}' has {stored} of shape {value.shape} and "
                        f"type {value.dtype}, expected numbers of shape {shape}: {ADVICE}."
                    )
                pieces.append(value.reshape(rows, -1))
            fields[field] = np.concatenate(pieces, axis=1)
        yield fields
