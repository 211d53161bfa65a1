"""The pages: of a run, and of a data set."""

import json
import re
from pathlib import Path
from typing import Any

from dawm_jax.data.formats.minari import load
from dawm_jax.errors import UserError, require
from dawm_jax.types import Dataset
from experiments.reporting.page.data import Recorded, data
from experiments.reporting.page.document import document, note, section
from experiments.reporting.page.learnt import learnt
from experiments.reporting.page.provenance import provenance
from experiments.reporting.page.summary import summary
from experiments.reporting.page.synthetic import source
from experiments.run.config import data_settings, from_json
from experiments.store.files import write_text
from experiments.store.stage import stages_of
from experiments.system.disk_errors import disk_errors_explained


def write_page(
    run: str | None, dataset: str | None, output: str | None, *, films: int, overwrite: bool
) -> Path:
    """Writes the page of a run's folder or of a data set; returns its path.

    Args:
        output: the page (default: inspect.html in the run's folder, or <data set>.html here).
        films: of each source.
        overwrite: whether to replace a page.

    Raises:
        UserError: the run, the data set or the place for the page is unusable.
    """
    if bool(run) == bool(dataset):
        raise UserError(
            "name either a run (--run=runs/hopper) or a data set (--dataset=local/hopper/medium-v0)"
        )
    workdir = Path(run or "").expanduser()
    require(workdir.is_dir(), f"there is no folder {workdir}: --run names the folder of a run")
    default = Path(f"{slug(dataset)}.html") if dataset else workdir / "inspect.html"
    path = Path(output).expanduser() if output else default
    require(path.parent.is_dir(), f"there is no folder {path.parent} for the page: create it")
    require(not path.is_dir(), f"{path} is a folder: name a file, such as {path / 'page.html'}")
    require(
        overwrite or not path.exists(),
        f"{path} exists: name another file with --output, or replace it with --overwrite",
    )
    if dataset:
        text = page_of_data(dataset, f"experiments.inspect --dataset={dataset}")
    else:
        text = page_of_run(workdir, films, f"experiments.inspect --run={run}")
    with disk_errors_explained(path.parent):
        write_text(path, text)
    return path


def slug(name: str) -> str:
    """The id of a data set as the name of a file."""
    return re.sub(r"[^\w+.-]+", "-", name)[:100]


def page_of_data(name: str, command: str) -> str:
    """The page of a data set."""
    recorded = Recorded(load(name))
    sections = [data(recorded, with_marginals=True), provenance({}, {}, command)]
    return document(f"Data set {name}", sections)


def page_of_run(workdir: Path, films: int, command: str) -> str:
    """The page of a run, finished or not.

    Args:
        films: of each source.

    Raises:
        UserError: the folder is no run's, its files cannot be read, or the data have changed.
    """
    config = _read(workdir, "config.json")
    require(config is not None, f"{workdir} holds no run: it has no config.json")
    results = _read(workdir, "results.json")
    require(
        results is None or _is_complete(results),
        f"{workdir / 'results.json'} lacks fields that this version writes: run the command of the "
        "run again, which renews it",
    )
    dataset = _loaded(config, results)
    recorded = Recorded(dataset)
    if results is None:
        sections = [_unfinished(workdir), data(recorded, with_marginals=True)]
        versions = _read(workdir, "versions.json") or {}
    else:
        sources = results["sources"]
        alone = all(entry["synthesis"] is None for entry in sources.values())
        sections = [summary(results), data(recorded, with_marginals=alone)]
        sections += [source(workdir, name, sources[name], recorded, films) for name in sources]
        sections.append(learnt(results))
        config, versions = results["config"], results["versions"]
    sections.append(provenance(config, versions, command))
    return document(f"Run {workdir.resolve().name} on {dataset.id}", sections)


def _loaded(config: dict[str, Any], results: dict[str, Any] | None) -> Dataset:
    """The data set of a run, loaded as the run did."""
    dataset = load(**data_settings(from_json(config)))
    if results is not None:
        found = {"transitions": dataset.transitions, "episodes": len(dataset.lengths)}
        then = {name: results["dataset"][name] for name in found}
        require(
            found == then,
            f"the data set '{dataset.id}' has {_counts(found)}, when the run used it "
            f"{_counts(then)}: set MINARI_DATASETS_PATH to the folder of the run's own data",
        )
    return dataset


def _is_complete(results: Any) -> bool:
    """Whether results have the layout of today."""
    parts = ("config", "versions", "dataset", "sources", "learners")
    if not isinstance(results, dict) or not all(part in results for part in parts):
        return False
    sources, learners = results["sources"].values(), results["learners"]
    known = all({"models", "synthesis", "fidelity"} <= source.keys() for source in sources)
    return known and all("policies" in entry for entry in learners)


def _counts(found: dict[str, int]) -> str:
    return " and ".join(f"{count} {name}" for name, count in found.items())


def _read(workdir: Path, name: str) -> Any:
    """The content of a run's JSON file; None if there is none."""
    path = workdir / name
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({error}): run the command of the run again, which renews it"
        ) from error


def _unfinished(workdir: Path) -> Any:
    begun = [stage.stage for stage in stages_of(workdir)] if (workdir / "stages").exists() else []
    return section(
        "state",
        "State of the run",
        note(
            "The run has no results.json yet, so this page shows its data and settings alone. Run "
            f"its command again to finish it. Stages begun: {', '.join(begun) or 'none'}."
        ),
    )
