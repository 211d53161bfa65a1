"""Loads and validates Minari data sets, and packs them onto the device."""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import minari
from gymnasium.envs.registration import EnvSpec

from dawm_jax.data.column_cache import cached
from dawm_jax.data.columns import Columns, check_columns, choose, join, shift_rewards
from dawm_jax.data.dataset import default_return_scale, pack
from dawm_jax.data.formats.minari_files import (
    check_count,
    folder_of,
    open_data_set,
    read_episodes,
)
from dawm_jax.data.formats.minari_parts import joined, layouts_of
from dawm_jax.data.formats.minari_references import references_of
from dawm_jax.data.goals import choose_goals
from dawm_jax.data.spaces import brief
from dawm_jax.errors import DatasetError
from dawm_jax.settings import (
    ActionBounds,
    EpisodeChoice,
    Factor,
    Goals,
    Number,
    Positive,
    check_value,
)
from dawm_jax.types import Dataset


def load(
    dataset_id: str,
    *,
    discount: float = 0.99,
    return_scale: float | None = None,
    action_bounds: str = "clip",
    goals: str = "desired",
    reward_shift: float = 0.0,
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
        goals: of goal-conditioned data, whether the 'desired' goal alone or 'both' goals belong to
            the observation; see `data.goals`.
        reward_shift: added to every reward before rewards are summed; scores are of the rewards
            without it.
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
    check_value("goals", goals, Goals)
    check_value("reward_shift", reward_shift, Number)
    check_value("episodes", episodes, EpisodeChoice)
    check_value("share", share, Factor)
    check_value("return_scale", return_scale, Positive | None)
    names = dataset_id.split("+") if isinstance(dataset_id, str) else [dataset_id]
    parts = [open_data_set(name, download) for name in names]
    layouts = [layouts_of(part) for part in parts]
    observations, actions = (layouts[0][field] for field in ("observations", "actions"))
    for part, own in zip(parts, layouts, strict=True):
        shapes = [
            [(p.path, p.box.shape) for p in one["observations"].parts] for one in (own, layouts[0])
        ]
        if shapes[0] != shapes[1] or own["actions"].space != actions.space:
            raise DatasetError(
                f"'{part.id}' has observations {brief(own['observations'].space)} and actions "
                f"{brief(own['actions'].space)}, but the first data set of '{dataset_id}' has "
                f"{brief(observations.space)} and {brief(actions.space)}. "
                "Combine only data sets of one robot."
            )
    references = {part.id: references_of(part, _mean_return) for part in parts}
    environment, evaluation_environment, scores = (
        _common(parts, what, part_of)
        for what, part_of in (
            ("environments", lambda part: part.env_spec),
            ("evaluation environments", lambda part: part._eval_env_spec),
            ("reference scores", lambda part: references[part.id].scores),
        )
    )
    columns = join([_columns(part) for part in parts])
    if len(columns.lengths) == 0:
        raise DatasetError(f"'{dataset_id}' has no episodes: record or download it again.")
    columns, observations = choose_goals(dataset_id, columns, observations, goals)
    columns = choose(shift_rewards(columns, reward_shift), episodes, share)
    dataset = pack(dataset_id, columns, actions.box, discount, action_bounds)
    notes = [one.note for one in references.values() if one.scores == scores and one.note]
    return replace(
        dataset,
        environment=environment,
        evaluation_environment=evaluation_environment or environment,
        observation_layout=observations,
        action_layout=actions,
        reward_shift=reward_shift,
        return_scale=return_scale or default_return_scale(dataset, environment),
        reference_scores=scores,
        reference_note=notes[0] if notes else None,
        synthetic=tuple(part.id for part in parts if part.storage.metadata.get("synthetic")),
    )


def _columns(part: minari.MinariDataset) -> Columns:
    """The checked columns of a data set, from its cache or its files."""

    def read() -> Columns:
        layouts = layouts_of(part)
        shapes = (layouts[field].box.shape for field in ("observations", "actions"))
        with closing(read_episodes(part)) as episodes:
            return check_columns(part.id, joined(part.id, episodes, layouts), *shapes)

    columns = cached(part.storage.data_path, read)
    folder, claimed = part.storage.data_path.parent, part.storage.metadata.get("total_steps")
    check_count(part.id, folder, "steps", claimed, len(columns.rewards))
    return columns


def _mean_return(dataset_id: str) -> float | None:
    """The mean return of a data set's episodes; None if it is not on this machine, or empty."""
    if not folder_of(dataset_id).exists():
        return None
    columns = _columns(open_data_set(dataset_id, download=False))
    return float(columns.returns.mean()) if len(columns.lengths) else None


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
    return brief("; ".join(texts), 200)
