"""A finished run, read back: its config, its results, and the policies that it trained.

Reading changes nothing in the run's folder.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from dawm_jax.data.formats.minari import load
from dawm_jax.errors import UserError, require, require_choice
from dawm_jax.learners import DataStatistics, Learner
from dawm_jax.types import Dataset
from experiments.run.config import build, data_settings, from_json
from experiments.store.checkpoints import read_last
from experiments.store.stage import StageFiles


@dataclass(frozen=True)
class FinishedRun:
    """The folder of a run, with what its results.json says."""

    workdir: Path
    results: dict[str, Any]
    config: ConfigDict

    @classmethod
    def read(cls, workdir: Path) -> "FinishedRun":
        """The run in a folder.

        Raises:
            UserError: it has no results, or they are damaged or older than what they must name.
        """
        path = workdir / "results.json"
        require(
            path.is_file(),
            f"{workdir} holds no finished run: it has no results.json. Name the --workdir of "
            "experiments.main, and run that to its end",
        )
        try:
            results = json.loads(path.read_text())
            config, entries = from_json(results["config"]), results["learners"]
        except (ValueError, KeyError, TypeError, UserError) as error:
            raise UserError(
                f"{path} is damaged ({type(error).__name__}: {error}): run experiments.main again, "
                "which finds the finished stages"
            ) from error
        require(
            all("stage" in entry for entry in entries),
            f"{path} does not name the stages of its learners, as it is of an older version: run "
            "experiments.main again, which finds the finished stages",
        )
        return cls(workdir, results, config)

    @cached_property
    def dataset(self) -> Dataset:
        """The run's data set, which tells the environment and the scale of actions."""
        dataset = load(**data_settings(self.config))
        expected = self.results["dataset"]["transitions"]
        require(
            dataset.transitions == expected,
            f"the data set '{dataset.id}' has {dataset.transitions} transitions, the run in "
            f"{self.workdir} was trained on {expected}: restore the data set of the run",
        )
        return dataset

    @property
    def seeds(self) -> list[int]:
        """The seeds of every learner."""
        return list(range(self.config.seed, self.config.seed + self.config.seeds))

    def entries(self, learner: str | None, source: str | None) -> list[dict[str, Any]]:
        """The learners' entries in results.json, all or those of one learner or source.

        Raises:
            UserError: the run has none of that name; lists those that it has.
        """
        found = self.results["learners"]
        for field, what, name in (("name", "learner", learner), ("source", "source", source)):
            if name is not None:
                require_choice(f"{what} of the run", name, {entry[field] for entry in found})
        return [
            entry
            for entry in found
            if learner in (None, entry["name"]) and source in (None, entry["source"])
        ]

    def position(self, seed: int) -> int:
        """The place of a seed among the run's.

        Raises:
            UserError: the run has no such seed.
        """
        seeds = self.seeds
        require(
            seed in seeds, f"the run has no seed {seed}: its seeds are {seeds[0]} to {seeds[-1]}"
        )
        return seeds.index(seed)

    def learner(self, name: str) -> Learner:
        """The learner of a name, with the run's settings."""
        return build(self.config).learners[name]

    def states(self, entry: dict[str, Any]) -> Any:
        """The final states of a learner's seeds, stacked.

        Raises:
            UserError: they are missing or damaged, or of another version of the learner.
        """
        learner, folder = (
            self.learner(entry["name"]),
            StageFiles(self.workdir / "stages" / entry["stage"]),
        )
        keys = jax.random.split(jax.random.key(0), self.config.seeds)
        init = jax.vmap(learner.init, in_axes=(0, None))
        template = jax.eval_shape(init, keys, DataStatistics.of(self.dataset))
        try:
            updates, states = read_last(folder.checkpoints, folder.stage, template)
        except UserError:
            raise
        except (ValueError, KeyError, TypeError) as error:  # of Orbax
            raise UserError(
                f"{folder.path} holds no state of today's {entry['name']}; it was trained at "
                f"commit {entry['commit']}: use that version, or run experiments.main again"
            ) from error
        require(
            updates == self.config.updates,
            f"{folder.stage} stands at update {updates} of {self.config.updates}: run "
            "experiments.main again to finish it",
        )
        return states
