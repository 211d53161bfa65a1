"""Minari data sets, written episode by episode."""

from collections.abc import Iterable
from typing import Any

import minari
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.storage.datasets_root_dir import get_dataset_path

from dawm_jax.data.columns import Fields


def write(
    dataset_id: str,
    episodes: Iterable[Fields],
    *,
    environment: Any = None,
    evaluation_environment: Any = None,
    spaces: tuple[Any, Any] | None = None,
    reference_scores: tuple[float, float] | None = None,
    **about: Any,
) -> None:
    """Writes a new data set; an environment is made only if `spaces` is not given.

    Args:
        environment: the specification of the environment that the episodes are from, if known.
        evaluation_environment: the specification of another one to score policies in.
        spaces: of observations and actions, both Box; the environment's unless given.
        reference_scores: returns that score 0 and 100.
        about: further metadata, such as description; values for JSON.
    """
    path = get_dataset_path(dataset_id) / "data"
    path.mkdir(parents=True)
    observation_space, action_space = spaces or (None, None)
    # Minari's function for this makes the environments, and holds all episodes in memory.
    storage = MinariStorage.new(path, observation_space, action_space, environment, "hdf5")
    metadata = {"dataset_id": dataset_id, "minari_version": minari.__version__, **about}
    if evaluation_environment is not None:
        metadata["eval_env_spec"] = evaluation_environment.to_json()
    if reference_scores is not None:
        metadata["ref_min_score"], metadata["ref_max_score"] = reference_scores
    storage.update_metadata(metadata)
    storage.update_episodes(
        EpisodeBuffer(id=number, infos={}, **episode) for number, episode in enumerate(episodes)
    )
