"""The pages are true: code runs, commands parse, links resolve, tables are the result files'."""

import ast
import importlib.util
import json
import re
import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

import dawm_jax as dawm
from dawm_jax.learners import LEARNERS
from dawm_jax.models.dynamics import OneStepModel
from dawm_jax.sources import SOURCES
from experiments.configs import dawm as full_config
from experiments.readme import MARKED, PAGES, TABLES, renewed
from experiments.run.config import build
from experiments.store.checkpoints import Checkpoints

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = {  # in docs/extending.md, in this order
    "perturbed_actions": ("PerturbedActions", SOURCES),
    "median_bc": ("MedianBC", LEARNERS),
}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Compilation takes most of the time of the examples."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """The classes of docs/extending.md, each from its own file, in their registries."""
    classes = {}
    with pytest.MonkeyPatch.context() as patch:
        for (name, (kind, registry)), code in zip(
            EXAMPLES.items(), python_blocks("docs/extending.md"), strict=True
        ):
            file = tmp_path_factory.mktemp(name) / f"{name}.py"
            file.write_text(code)
            spec = importlib.util.spec_from_file_location(name, file)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            classes[name] = getattr(module, kind)
            patch.setitem(registry, name, classes[name])
        yield classes


@each_page
def test_tables_are_those_of_the_result_files(page):
    text = page.read_text()
    assert renewed(text) == text


def test_every_kind_of_table_is_on_a_page():
    kinds = {found["kind"] for p in PAGES for found in MARKED.finditer(p.read_text())}
    assert kinds == set(TABLES)


def test_the_readme_is_short_and_starts_with_the_two_commands():
    lines = README.splitlines()
    assert len(lines) <= 160
    first, second = [line for line in lines if line.startswith("    ")][:2]
    quickstart = "python -m experiments.main --config=experiments/configs/quickstart.py"
    assert first == f"    pip install -e . && {quickstart}"
    assert second == "    pip install -e .[test] && python -m pytest"


def test_the_readme_names_every_source_and_learner():
    named = set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE))
    assert named >= SOURCES.keys() | LEARNERS.keys()


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_every_room_is_named(page):
    text = (ROOT / page).read_text()
    rooms = {file.parent.name for file in ROOT.glob("*/*/__init__.py")}
    assert len(rooms) > 15
    assert not [room for room in rooms if not re.search(rf"(?<!\w){room}/", text)]


def test_paths_in_the_map_exist():
    section = README.split("## Map")[1].split("##")[0]
    folder, paths = "", []
    for line in section.splitlines():
        found = re.findall(r"[\w/]+/(?!\S)|\w+\.py", line)
        if line.startswith("    ") and line[4] != " ":
            folder = found[0]
        paths += [(folder, path) for path in found]
    assert len(paths) > 20
    for folder, path in paths:
        assert (ROOT / path).exists() or (ROOT / folder / path).exists(), path


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_links_resolve(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        if "://" not in link:
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_the_readme_links_to_every_page():
    assert all(f"(docs/{page.name})" in README for page in PAGES[1:])


def commands(page):
    """Module and arguments of each command of ours, its lines joined."""
    text = re.sub(r"\\\n\s*", " ", page.read_text())
    found = re.findall(r"python -m (experiments\.\w+)((?: +--[^\s`\"]+)*)", text)
    return [(module, arguments.split()) for module, arguments in found]


def defined_flags(module):
    """The flags that a command defines, including those of our modules that it imports."""
    path = ROOT / module.replace(".", "/")
    file = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    tree = ast.parse(file.read_text())
    imported = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    files = [file, *(ROOT / f"{name.replace('.', '/')}.py" for name in imported)]
    text = "".join(f.read_text() for f in files if f.exists())
    return set(re.findall(r"DEFINE_\w+\(\s*\"([\w-]+)\"", text))


def parsed(arguments, monkeypatch):
    """The config that a command's arguments describe."""
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", lock_config=True, flag_values=values)
    arguments = ["main", *(a for a in arguments if a.startswith("--config"))]
    monkeypatch.setattr(sys, "argv", arguments)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of ml_collections
        values(arguments)
    return values.config


@each_page
def test_commands_parse(page, examples, monkeypatch):
    for module, arguments in commands(page):
        known = defined_flags(module)
        names = {re.match(r"--([\w-]+)", argument)[1] for argument in arguments}
        assert names <= known, (module, names - known)
        if module == "experiments.faults":
            settings = [a.replace("--set=", "--") for a in arguments if a.startswith("--set=")]
            arguments = ["--config=experiments/configs/tiny.py", *settings]
        if any(argument.startswith("--config=") for argument in arguments):
            build(parsed(arguments, monkeypatch))


@each_page
def test_flags_and_settings_exist(page, examples):
    text = page.read_text()
    for setting in re.findall(r"--config\.([\w.]*\w)", text):
        value = full_config.get_config()
        for part in setting.split("."):
            assert part in value, setting
            value = value[part]
    modules = {module for each in PAGES for module, _ in commands(each)}
    known = set().union(*map(defined_flags, modules))
    assert set(re.findall(r"`--([\w-]+)[=`]", text)) <= known


def test_commands_and_flags_are_found():
    modules = {module for page in PAGES for module, _ in commands(page)}
    names = (
        "main",
        "collect",
        "import_data",
        "export_policy",
        "evaluate",
        "inspect",
        "attribution",
        "ablation",
        "variants",
        "random_returns",
        "benchmark",
        "faults",
        "readme",
        "synthesize",
    )
    assert modules == {f"experiments.{name}" for name in names}
    assert {"workdir", "config", "profile"} <= defined_flags("experiments.ablation")


def shortened(code, changes):
    for long, short in changes.items():
        assert long in code
        code = code.replace(long, short)
    return code


def test_the_data_set_of_the_pages_loads(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    ends = np.arange(6) == 5
    episode = {
        "observations": np.arange(21.0).reshape(7, 3),
        "actions": np.linspace(-1.0, 1.0, 12).reshape(6, 2),
        "rewards": np.ones(6),
        "terminations": ends,
        "truncations": np.zeros(6, bool),
    }
    (code,) = python_blocks("docs/data.md")
    with warnings.catch_warnings(action="ignore"):  # advice on metadata
        exec(code, dict(episode))
    dataset = dawm.load("mine/robot/first-v0")
    np.testing.assert_array_equal(dataset.episodes.observation, episode["observations"])
    np.testing.assert_allclose(dataset.episodes.action[:6], episode["actions"], atol=1e-6)
    assert dataset.terminated.all()
    assert dataset.environment is None


def test_the_readme_s_example_runs(recorded):
    names: dict = {}
    changes = {
        "WorldModel(steps=10_000)": "WorldModel(steps=20, width=8, multipliers=(1,), horizon=2)",
        "InverseDynamics(steps=10_000)": "InverseDynamics(steps=20, hidden=(16,))",
        'TD3BC(steps=50_000, critic_rows="recorded")': "BC(steps=20, hidden=(16,))",  # quicker
        "1_000_000": "70",
    }
    (code,) = python_blocks("README.md")
    exec(shortened(code, changes), names)
    assert names["states"].keys() == {"world_model", "inverse_dynamics", "termination"}
    assert names["synthetic"].reward.shape == (70,)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(names["synthetic"]))
    assert names["action"].shape == (16, 3)
    assert np.abs(names["action"]).max() <= 1.0


def test_the_source_of_the_pages_generates(examples, recorded):
    dataset = dawm.load(recorded)
    model = OneStepModel(steps=20, hidden=(16,))
    exact = examples["perturbed_actions"](dynamics=model, noise=0.0)
    noisy = examples["perturbed_actions"](dynamics=model, noise=10.0)
    key, data = jax.random.key(0), exact.data("dynamics", dataset)
    states = {"dynamics": dawm.fit(model, model.init(key, data), data, key)}
    settings = dawm.Synthesis(transitions=50, chunk=20)
    step, other = (dawm.synthesize(s, states, dataset, settings, key) for s in (exact, noisy))
    transitions = dawm.to_transitions(dataset)
    rows = {np.asarray(row).tobytes() for row in np.hstack(transitions_of(transitions))}
    assert all(row.tobytes() in rows for row in np.hstack(transitions_of(step)))
    following, reward = model.step(states["dynamics"], step.observation, step.action)
    np.testing.assert_allclose(step.next_observation, following, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(step.reward, reward, rtol=1e-4, atol=1e-4)
    assert step.reward.shape == (50,)
    assert not step.recorded.any()
    assert (step.discount == np.float32(0.99)).all()
    np.testing.assert_array_equal(other.observation, step.observation)
    assert np.abs(other.action).max() == 1.0
    assert (other.action != step.action).mean() > 0.5


def transitions_of(transitions):
    return np.asarray(transitions.observation), np.asarray(transitions.action)


def test_the_examples_are_blocks_of_a_config(examples):
    config = full_config.get_config()
    config.sources, config.learners = ("recorded", "perturbed_actions"), ("bc", "median_bc")
    config.perturbed_actions.noise = 0.25
    config.median_bc.hidden = (8,)
    components = build(config)
    assert components.sources["perturbed_actions"].noise == 0.25
    assert components.learners["median_bc"].hidden == (8,)


def test_the_learner_of_the_pages_clones_the_median(examples):
    observation = jax.random.normal(jax.random.key(0), (60, 3))
    action = jnp.where(jnp.arange(60)[:, None] % 3 == 0, 0.9, -0.5)  # of mean -0.03
    zeros, no = jnp.zeros(60), jnp.zeros(60, bool)
    rows = dawm.Transition(observation, action, zeros, zeros, observation, action, no, ~no)
    statistics = dawm.DataStatistics(jnp.zeros(3), jnp.ones(3), jnp.float32(1.0), action_dim=1)
    learner = examples["median_bc"](steps=300, hidden=(8,), batch_size=60, learning_rate=1e-2)
    key = jax.random.key(1)
    state = jax.jit(learner.init)(key, statistics)
    state = dawm.fit(learner, state, dawm.TransitionSet(rows), key)
    assert abs(float(jnp.median(learner.act(state, observation, "last"))) + 0.5) < 0.1


def test_a_checkpoint_is_read_as_the_page_says(tmp_path):
    stored = Checkpoints(tmp_path / "best", "td3bc-dawm", keep=1)
    stored.save(40_000, {"actor": jnp.arange(3.0)}, {"score": 1.0})
    stored.close()
    (code,) = python_blocks("docs/results.md")
    names: dict = {}
    exec(shortened(code, {"/.../stages/td3bc-dawm-.../best": str(tmp_path / "best")}), names)
    np.testing.assert_array_equal(names["state"]["actor"], np.arange(3.0))


def test_the_fields_of_results_are_explained():
    page = (ROOT / "docs" / "results.md").read_text()
    path = ROOT / "experiments/results/table-h200-hopper-medium-replay.json"
    results = json.loads(path.read_text())
    source = results["sources"]["dawm"]
    rollouts = source["fidelity"]["rollouts"]
    parts = [results, results["dataset"], source, source["synthesis"], source["fidelity"], rollouts]
    parts += [rollouts["simulator"], rollouts["actions"], rollouts["terminals"]]
    entry = results["learners"][0]
    parts += [entry, *entry["policies"].values(), entry["policies"]["last"]["seeds"][0]]
    parts += [rollouts["returns"][0]]
    for name in {name for part in parts for name in part}:
        assert re.search(rf"`(?:\w+\.)*{name}`", page), name
