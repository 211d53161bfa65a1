"""Loads and validates Minari data sets, and packs them onto the device."""

from contextlib import closing
from dataclasses import replace
from typing import Any

import minari
import numpy as np
from gymnasium.spaces import Box, Space

from dawm_jax.data.column_cache import cached
from dawm_jax.data.columns import LARGEST, Columns, check_columns, join
from dawm_jax.data.dataset import default_return_scale, pack
from dawm_jax.data.formats.minari_files import open_data_set, read_episodes
from dawm_jax.data.references import REFERENCE_SCORES, robot_of
from dawm_jax.errors import DatasetError
from dawm_jax.settings import Factor, Positive, check_value
from dawm_jax.types import Dataset


def load(
    dataset_id: str,
    *,
    discount: float = 0.99,
    return_scale: float | None = None,
    download: bool = False,
) -> Dataset:
    """Loads one Minari data set, or several as one.

    Checked columns are cached in the folder of each data set, so that the next load is fast.

    Args:
        dataset_id: a Minari id, or several joined by "+".
        discount: gamma of the return-to-go and of the transitions.
        return_scale: divides the return-to-go (default: DWM's for Hopper, Walker2d and
            HalfCheetah, otherwise the largest absolute return-to-go of the data).
        download: whether to download a missing data set from Minari's server.

    Raises:
        UserError: an id is unknown, the data are unusable, or an argument is out of range.
    """
    check_value("discount", discount, Factor)
    check_value("return_scale", return_scale, Positive | None)
    parts = [open_data_set(name, download) for name in dataset_id.split("+")]
    spaces = [(part.observation_space, part.action_space) for part in parts]
    for part, (observation_space, action_space) in zip(parts, spaces, strict=True):
        _check_space(part.id, "observation", observation_space)
        _check_space(part.id, "action", action_space)
        if (observation_space.shape, action_space) != (spaces[0][0].shape, spaces[0][1]):
            raise DatasetError(
                f"'{part.id}' has observations {_brief(observation_space)} and actions "
                f"{_brief(action_space)}, but the first data set of '{dataset_id}' has "
                f"{_brief(spaces[0][0])} and {_brief(spaces[0][1])}. "
                "Combine only data sets of one robot."
            )
    environments = {part.env_spec.id: part.env_spec for part in parts if part.env_spec}
    if len(environments) > 1:
        raise DatasetError(
            f"'{dataset_id}' combines data sets of {', '.join(environments)}. "
            "Combine only data sets of one robot."
        )
    columns = join([_columns(part) for part in parts])
    if len(columns.lengths) == 0:
        raise DatasetError(f"'{dataset_id}' has no episodes: record or download it again.")
    environment = next(iter(environments.values()), None)
    dataset = pack(dataset_id, columns, spaces[0][1], discount)
    return replace(
        dataset,
        environment=environment,
        return_scale=return_scale or default_return_scale(dataset, environment),
        reference_scores=_reference_scores(parts[0].storage.metadata, environment),
    )


def _check_space(dataset_id: str, role: str, space: Space[Any]) -> None:
    if not isinstance(space, Box) or space.dtype == np.uint8:
        raise DatasetError(
            f"'{dataset_id}' has {role} space {_brief(space)}: only Box spaces of vectors are "
            "supported. Use a data set of vector observations and continuous actions."
        )
    if 0 in space.shape:
        raise DatasetError(
            f"'{dataset_id}' has {role} space {_brief(space)}, which contains no numbers. "
            "Use a data set of non-empty observations and actions."
        )


def _brief(space: Space[Any]) -> str:
    text = str(space)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _columns(part: minari.MinariDataset) -> Columns:
    """The checked columns of a data set, from its cache or its files."""

    def read() -> Columns:
        shapes = part.observation_space.shape, part.action_space.shape
        with closing(read_episodes(part)) as episodes:
            return check_columns(part.id, episodes, *shapes)

    return cached(part.storage.data_path, read)


def _reference_scores(
    metadata: dict[str, Any], environment: Any | None
) -> tuple[float, float] | None:
    low, high = metadata.get("ref_min_score"), metadata.get("ref_max_score")
    if low is not None and high is not None:
        if not -LARGEST < low < high < LARGEST:
            raise DatasetError(
                f"reference scores are {low} and {high}; they must be finite and ascend: correct "
                "ref_min_score and ref_max_score in the metadata of the data set."
            )
        return float(low), float(high)
    return REFERENCE_SCORES.get(robot_of(environment.id)) if environment else None
