"""Loads and validates Minari data sets, and packs them onto the device."""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import minari
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Space

from dawm_jax.data.column_cache import cached
from dawm_jax.data.columns import LARGEST, Columns, check_columns, choose, join
from dawm_jax.data.dataset import default_return_scale, pack
from dawm_jax.data.formats.minari_files import check_count, open_data_set, read_episodes
from dawm_jax.data.references import REFERENCE_SCORES, robot_of
from dawm_jax.errors import DatasetError
from dawm_jax.settings import ActionBounds, EpisodeChoice, Factor, Positive, check_value
from dawm_jax.types import Dataset


def load(
    dataset_id: str,
    *,
    discount: float = 0.99,
    return_scale: float | None = None,
    action_bounds: str = "clip",
    episodes: str = "first",
    share: float = 1.0,
    download: bool = False,
) -> Dataset:
    """Loads one Minari data set, or several as one.

    Checked columns are cached in the folder of each data set, so that the next load is fast.

    Args:
        dataset_id: a Minari id, or several joined by "+".
        discount: gamma of the return-to-go and of the transitions.
        return_scale: divides the return-to-go (default: DWM's for Hopper, Walker2d and
            HalfCheetah, otherwise the largest absolute return-to-go of the data).
        action_bounds: 'clip' actions at the bounds of the action space, as simulators do, with a
            warning if more than a few lie beyond them; 'refuse' such data; or take the bounds from
            the 'data'.
        episodes: which episodes to keep where `share` is below 1: the 'first', 'random' ones (the
            same every time), or those of the 'best' returns.
        share: the share of the episodes to keep, at least one.
        download: whether to download a missing data set from Minari's server.

    Raises:
        UserError: an id is unknown, the data are unusable or contradict their metadata, or an
            argument is out of range.
    """
    check_value("discount", discount, Factor)
    check_value("action_bounds", action_bounds, ActionBounds)
    check_value("episodes", episodes, EpisodeChoice)
    check_value("share", share, Factor)
    check_value("return_scale", return_scale, Positive | None)
    names = dataset_id.split("+") if isinstance(dataset_id, str) else [dataset_id]
    parts = [open_data_set(name, download) for name in names]
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
    environment, evaluation_environment, scores = (
        _common(parts, what, part_of)
        for what, part_of in (
            ("environments", lambda part: part.env_spec),
            ("evaluation environments", lambda part: part._eval_env_spec),
            ("reference scores", _reference_scores),
        )
    )
    columns = choose(join([_columns(part) for part in parts]), episodes, share)
    if len(columns.lengths) == 0:
        raise DatasetError(f"'{dataset_id}' has no episodes: record or download it again.")
    dataset = pack(dataset_id, columns, spaces[0][1], discount, action_bounds)
    return replace(
        dataset,
        environment=environment,
        evaluation_environment=evaluation_environment or environment,
        return_scale=return_scale or default_return_scale(dataset, environment),
        reference_scores=scores,
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


def _brief(value: Any, most: int = 80) -> str:
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _columns(part: minari.MinariDataset) -> Columns:
    """The checked columns of a data set, from its cache or its files."""

    def read() -> Columns:
        shapes = part.observation_space.shape, part.action_space.shape
        with closing(read_episodes(part)) as episodes:
            return check_columns(part.id, episodes, *shapes)

    columns = cached(part.storage.data_path, read)
    folder, claimed = part.storage.data_path.parent, part.storage.metadata.get("total_steps")
    check_count(part.id, folder, "steps", claimed, len(columns.rewards))
    return columns


def _common(
    parts: list[minari.MinariDataset], what: str, part_of: Callable[[minari.MinariDataset], Any]
) -> Any:
    """What all parts have in common; a part that has none of it does not count.

    Raises:
        DatasetError: two parts differ in it.
    """
    found = {part.id: one for part in parts if (one := part_of(part)) is not None}
    first = next(iter(found), "")
    for other, one in found.items():
        if one != found[first]:
            differences = _differences(found[first], one)
            raise DatasetError(
                f"'{first}' and '{other}' have different {what} ({differences}). "
                "Combine only data sets of one robot that were recorded alike."
            )
    return found.get(first)


def _differences(first: Any, second: Any) -> str:
    if not isinstance(first, EnvSpec):
        return f"{first} and {second}"
    one, other = (json.loads(spec.to_json()) for spec in (first, second))
    texts = [f"{key}: {one[key]} and {other[key]}" for key in one if one[key] != other[key]]
    return _brief("; ".join(texts), 200)


def _reference_scores(part: minari.MinariDataset) -> tuple[float, float] | None:
    metadata, environment = part.storage.metadata, part.env_spec
    low, high = metadata.get("ref_min_score"), metadata.get("ref_max_score")
    if low is not None and high is not None:
        if not -LARGEST < low < high < LARGEST:
            raise DatasetError(
                f"reference scores are {low} and {high}; they must be finite and ascend: correct "
                "ref_min_score and ref_max_score in the metadata of the data set."
            )
        return float(low), float(high)
    return REFERENCE_SCORES.get(robot_of(environment.id)) if environment else None
