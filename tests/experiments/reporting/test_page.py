"""The page of a finished tiny run: every section, the run's own numbers, nothing from outside."""

import base64
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from dawm_jax.data.formats.minari import load
from dawm_jax.data.windows import to_transitions
from dawm_jax.errors import UserError
from experiments.reporting.page import build, films, synthetic
from experiments.reporting.page.data import Recorded, data
from experiments.reporting.page.document import shown
from experiments.reporting.page.sample import Sample
from experiments.simulation.films import obstacle
from experiments.simulation.simulator import make_simulator

VOID = {"meta", "link", "img"}


class Page(HTMLParser):
    """A page that is checked while it is read: every element is closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.sources = [], [], [], []
        self.rows, self.texts, self.tags = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        assert len(given) == len(attributes)
        self.tags.append(tag)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if "href" in given else []
        if tag == "img":
            self.sources.append(given["src"])
            assert given["alt"]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append(text)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += text.strip()

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.texts))

    def row(self, *start):
        """The cells after those of `start`, of the first such row."""
        return next(r[len(start) :] for r in self.rows if tuple(r[: len(start)]) == start)

    def images(self):
        """Every picture, decoded."""
        for source in self.sources:
            kind, data = re.fullmatch(r"data:([\w/+]+);base64,(.*)", source).groups()
            data = base64.b64decode(data, validate=True)
            yield (
                kind,
                ElementTree.fromstring(data) if "svg" in kind else Image.open(io.BytesIO(data)),
            )


@pytest.fixture(scope="module")
def written(finished, tmp_path_factory):
    """The page of the finished run, and its results."""
    _, workdir, results = finished
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert build.write_page(str(workdir), None, str(path), films=2, overwrite=False) == path
    return Page(path.read_text()), path, results


def test_every_section_is_there(written):
    page, _, results = written
    sources = [f"source-{name}" for name in results["sources"]]
    assert page.ids == ["summary", "data", *sources, "policies", "provenance"]
    assert [link for link in page.links if link != "data:,"] == [f"#{name}" for name in page.ids]
    for title in (
        "Episodes",
        "Coverage of states and actions",
        "States, actions and rewards",
        "principal axes",
        "Terminal flags against the state",
        "check for memorization",
        "Return against target",
        "Spread against error",
        "Rollouts against held-out windows",
        "Each step against the simulator",
        "Drift from the simulator",
        "Learning curves",
    ):
        assert title in page.text, title
    assert "recorded adds no transitions" in page.text


def test_numbers_are_those_of_the_results(written):
    page, _, results = written
    assert page.row("transitions") == [shown(results["dataset"]["transitions"])]
    assert page.row("return, mean") == [shown(results["dataset"]["return_mean"])]
    assert page.row("score, mean") == [shown(results["dataset"]["score_mean"])]
    for name, entry in results["sources"].items():
        if entry["synthesis"] is None:
            continue
        rollouts, transitions = entry["fidelity"]["rollouts"], entry["fidelity"]["transitions"]
        count, changes, _, distance, *_ = page.row(name)
        assert count == shown(entry["synthesis"]["transitions"])
        steps = rollouts["simulator"]["changes"]["synthetic"]["pooled"]
        assert changes == ", ".join("-" if s is None else f"{s:.2f}" for s in (steps[0], steps[-1]))
        nearest = transitions["nearest_recorded"]
        assert float(distance) == pytest.approx(
            nearest["synthetic"] / nearest["recorded"], abs=0.006
        )
        for model, facts in entry["models"].items():
            assert shown(facts["loss"]) in page.row(model)
        for where, counts in (
            ("windows that end, held out", rollouts["terminals"]["windows"]),
            ("rollouts' states by the environment's rule", rollouts["terminals"]["rule"]),
            ("transitions in the simulator", transitions["simulator"]["terminals"]),
        ):
            values = [shown(counts[key]) for key in ("base_rate", "precision", "recall")]
            assert [where, *values] in page.rows
        medians = [row[:2] for row in page.rows if len(row) == 3]
        for rows in ("synthetic", "recorded"):
            assert [rows, shown(nearest[rows])] in medians
        reward_bias = ["reward, mean of synthetic less simulated"]
        assert [*reward_bias, shown(transitions["simulator"]["reward_bias"])] in page.rows
    for entry in results["learners"]:
        mean = entry["policies"]["averaged"]["mean"]
        assert f"{mean:.1f}" in page.row(entry["name"], entry["source"])
    assert page.row("commit of the run") == [shown(results["versions"]["commit"])]
    assert page.row("dawm.world_model.width") == ["8"]


def test_the_page_needs_nothing_else(written):
    page, path, _ = written
    assert path.read_text().startswith("<!doctype html>\n<html")
    assert len(set(page.ids)) == len(page.ids)
    assert all(link.startswith("#") or link == "data:," for link in page.links)
    assert "script" not in page.tags
    style = path.read_text().split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert path.stat().st_size < 5_000_000


def test_every_plot_says_what_to_look_for(written):
    page, _, _ = written
    images = list(page.images())
    kinds = [kind for kind, _ in images]
    assert set(kinds) <= {"image/svg+xml", "image/png", "image/webp"}
    plots = sum(kind != "image/webp" for kind in kinds)
    assert plots >= 22
    assert page.text.count("Look for: ") - ("image/webp" in kinds) * 2 == plots
    for kind, image in images:
        if kind == "image/svg+xml":
            assert image.tag.endswith("svg")
            assert "http" not in " ".join(
                value for part in image.iter() for name, value in part.items() if "href" in name
            )


def test_films_are_of_every_source_or_their_absence_is_explained(written):
    page, _, results = written
    animated = [image for kind, image in page.images() if kind == "image/webp"]
    reason = obstacle("Hopper-v5")
    if reason:
        assert f"No films: {reason}" in page.text
        return
    assert len(animated) == 2 * sum(e["synthesis"] is not None for e in results["sources"].values())
    for film in animated:
        assert film.n_frames > 2
        assert film.size == (2 * films.SIZE[0] + 4, films.SIZE[1])


@pytest.fixture
def without_drawing(monkeypatch):
    """Pictures are made but not drawn, which takes most of a page's time."""

    def save(figure, file, *, format, **_):
        file.write(b"<svg/>" if format == "svg" else b"")

    monkeypatch.setattr(Figure, "savefig", save)


@pytest.fixture
def drawn(recorded):
    """Five recorded steps as a source would generate them, and the simulator."""
    dataset = load(recorded)
    rows = slice(0, 5)
    step = to_transitions(dataset)
    fields = {name: np.array(values)[rows] for name, values in vars(step).items()}
    return make_simulator(dataset), Sample(type(step)(**fields), np.arange(5))


def test_recorded_steps_do_not_drift_and_wrong_ones_do(drawn):
    simulator, one = drawn
    assert films.followed(simulator, one) == [0]
    np.testing.assert_allclose(films.drift(simulator, one, 0), 0.0, atol=1e-3)
    deviation = np.asarray(simulator.dataset.episodes.observation).std(0)
    one.transitions.next_observation[3, 2] += 2.0 * deviation[2]
    error = films.drift(simulator, one, 0)
    np.testing.assert_allclose(error[3], 2.0 / np.sqrt(11), rtol=1e-3)
    np.testing.assert_allclose(np.delete(error, 3), 0.0, atol=1e-3)


def test_without_a_renderer_or_a_simulator_the_page_says_so(drawn, monkeypatch):
    simulator, one = drawn

    def none(*_):
        raise UserError("MuJoCo finds no OpenGL to render with")

    def text(parts):
        return "".join("".join(part.itertext()) for part in parts)

    monkeypatch.setattr(films, "Camera", none)
    parts = text(films.films(simulator.dataset, one, 2))
    assert "No films: MuJoCo finds no OpenGL to render with" in parts
    assert "Drift from the simulator" in parts
    monkeypatch.setattr(films, "make_simulator", lambda _: None)
    assert "no films: Hopper-v5 cannot be set" in text(films.films(simulator.dataset, one, 2))


def shortened(dataset, steps, terminated, scale=1.0):
    """A data set of the first `steps` steps alone, as one episode."""
    episodes = jax.tree.map(lambda leaf: leaf[: steps + 1], dataset.episodes)
    return replace(
        dataset,
        episodes=episodes.replace(
            observation=episodes.observation * scale,
            action=episodes.action * scale,
            steps_left=np.arange(steps, -1, -1, dtype=np.int32),
            terminated=np.full(steps + 1, terminated),
        ),
        lengths=np.array([steps]),
        returns=np.array([1e30]),
        terminated=np.array([terminated]),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "terminated", "scale"), [(1, False, 1.0), (2, True, 1.0), (4, False, 0.0)]
)
def test_a_few_equal_or_huge_numbers_have_a_page(recorded, steps, terminated, scale):
    """One step; one that ends; nothing that varies. Warnings are errors."""
    few = Recorded(shortened(load(recorded), steps, terminated, scale))
    one = Sample(few.rows, np.zeros(steps, int))
    measured = {"rollouts": None, "transitions": None}
    parts = [
        data(few, with_marginals=True),
        *synthetic.distributions("dawm", few, one),
        *synthetic.ends(few, one, measured),
        *synthetic.memorization(few, one, None),
        *films.films(few.dataset, one, 2),
    ]
    assert "no rollout has two transitions" in "".join(parts[-1].itertext())


def test_an_unfinished_run_is_a_page_of_what_there_is(finished, tmp_path, without_drawing):
    _, workdir, _ = finished
    run = tmp_path / "run"
    (run / "stages" / "world_model-0123456789ab").mkdir(parents=True)
    shutil.copy(workdir / "config.json", run)
    page = Page(build.page_of_run(run, 2, "a command"))
    assert page.ids == ["state", "data", "provenance"]
    assert "Stages begun: world_model." in page.text
    assert "States, actions and rewards" in page.text


def test_a_run_without_measurements_has_its_page(finished, tmp_path, without_drawing):
    """As of a version that measured less, on a data set without windows to hold out."""
    _, workdir, results = finished
    shutil.copytree(workdir, tmp_path / "run")
    less = json.loads(json.dumps(results))
    less["sources"] = {name: less["sources"][name] for name in ("recorded", "dawm")}
    less["sources"]["dawm"]["fidelity"] = {"rollouts": None, "transitions": None}
    (tmp_path / "run" / "results.json").write_text(json.dumps(less))
    page = Page(build.page_of_run(tmp_path / "run", 0, "a command"))
    assert "Rollouts were not measured" in page.text
    assert page.row("dawm")[1:5] == ["-", "-", "-", "-"]


def test_bad_input_is_refused_before_any_work(finished, recorded, tmp_path, monkeypatch):
    _, workdir, results = finished
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.html"

    def refused(message, run=None, dataset=None, output=str(page), overwrite=False):
        with pytest.raises(UserError, match=message):
            build.write_page(run, dataset, output, films=0, overwrite=overwrite)
        assert sorted(tmp_path.glob("*.partial")) == []

    refused("name either a run")
    refused("name either a run", str(workdir), recorded)
    refused("there is no folder nowhere", "nowhere")
    refused("holds no run: it has no config.json", str(tmp_path))
    refused("local/none/none-v0", dataset="local/none/none-v0")
    assert not page.exists()
    refused("no folder .*missing for the page", str(workdir), output="missing/page.html")
    refused("is a folder: name a file", str(workdir), output=str(tmp_path))
    page.write_text("mine")
    refused("exists: name another file with --output", dataset="local/none/none-v0")
    refused("local/none/none-v0", dataset="local/none/none-v0", overwrite=True)
    assert page.read_text() == "mine"
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(workdir / "config.json", run)
    other = {**results, "dataset": {**results["dataset"], "transitions": 7}}
    (run / "results.json").write_text(json.dumps(other))
    refused("when the run used it 7 transitions", str(run), overwrite=True)
    old = {**results, "learners": [{"name": "bc", "source": "recorded", "seeds": []}]}
    (run / "results.json").write_text(json.dumps(old))
    refused("results.json lacks fields", str(run), overwrite=True)
    (run / "results.json").write_text('{"config": ')
    refused(r"results.json cannot be read", str(run), overwrite=True)


def test_a_data_set_has_a_page_of_its_own(recorded, tmp_path, monkeypatch, without_drawing):
    monkeypatch.chdir(tmp_path)
    path = build.write_page(None, recorded, None, films=0, overwrite=False)
    assert path.name == "local-hopper-medium-replay-v0.html"
    page = Page(path.read_text())
    dataset = load(recorded)
    assert page.ids == ["data", "provenance"]
    assert page.row("episodes") == [shown(len(dataset.lengths))]
    terminal = int(dataset.terminated.sum())
    assert page.row("ends in a terminal state")[0].startswith(f"{terminal} of ")
    first = np.asarray(dataset.episodes.observation)[np.asarray(dataset.episodes.steps_left) > 0, 0]
    assert page.row("observation 0")[0] == shown(float(first.min()))
    assert page.row("observation 0")[5] == shown(float(first.std(dtype=np.float64)))
