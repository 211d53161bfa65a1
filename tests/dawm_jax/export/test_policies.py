"""Exported policies act as the learner does, without this package."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from handmade import make_dataset, random_episode
from safetensors.numpy import load_file, save_file

from dawm_jax.errors import UserError
from dawm_jax.export import policies
from dawm_jax.export.policies import TrainedPolicy, to_jax, to_safetensors
from dawm_jax.export.reading import read_policy
from dawm_jax.learners import BC, LEARNERS, DataStatistics
from dawm_jax.settings import POLICIES

PAGE = Path(__file__).parents[3] / "docs" / "policies.md"
LOADER, PROGRAM = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
# Acts with every program in the folder, where neither this package nor Flax can be imported.
STRANGER = """
import sys
for name in ("dawm_jax", "experiments", "flax"):
    sys.modules[name] = None
import numpy as np
data = np.load("observations.npz")
for path in sorted(Path(".").glob("*.jax")):
    policy = export.deserialize(bytearray(path.read_bytes()))
    for name, observation in data.items():
        np.save(f"{path.stem}-{name}.npy", policy.call(observation))
    assert policy.platforms == ("cpu", "cuda", "tpu"), policy.platforms
"""
TOLERANCE = 1e-5  # of actions within [-2, 3]


@pytest.fixture(scope="module")
def dataset():
    """Observations far from 0 and of different sizes; actions with bounds of their own."""
    rng = np.random.default_rng(0)
    dataset = make_dataset([random_episode(rng, 10, terminated=i % 2 == 0) for i in range(4)])
    low, high = np.array([-2.0, 0.5], np.float32), np.array([3.0, 0.75], np.float32)
    return replace(dataset, action_low=low, action_high=high)


def trained(learner, dataset):
    """A policy whose averaged and last parameters differ, and whose normalizer does much."""
    statistics = DataStatistics(
        jnp.array([3.0, -40.0, 0.01]), jnp.array([0.5, 8.0, 2e-4]), jnp.float32(1.0), 2
    )
    state = jax.jit(learner.init)(jax.random.key(0), statistics)
    leaves, structure = jax.tree.flatten(state)
    rng = np.random.default_rng(1)
    noisy = [leaf + 0.3 * rng.standard_normal(leaf.shape).astype(np.float32) for leaf in leaves]
    state = jax.tree.unflatten(structure, noisy).replace(statistics=statistics)
    return TrainedPolicy(learner, state, dataset)


@pytest.fixture(scope="module", params=LEARNERS)
def learned(request, dataset):
    return request.param, trained(LEARNERS[request.param](hidden=(16, 8)), dataset)


def observations(rows):
    rng = np.random.default_rng(rows)
    spread = rng.standard_normal((rows, 3)) * [0.5, 8.0, 2e-4]
    return (np.array([3.0, -40.0, 0.01]) + spread).astype(np.float32)


def expected(policy, observation):
    """The learner's own actions, scaled by hand."""
    action = np.asarray(policy.learner.act(policy.state, observation, policy.policy))
    low, high = np.array([-2.0, 0.5]), np.array([3.0, 0.75])
    assert 0.01 < np.abs(action).mean() < 0.99
    return low + (action + 1.0) * (high - low) / 2.0


@pytest.mark.parametrize("policy", POLICIES)
def test_the_loader_of_the_page_acts_as_every_learner(learned, policy, tmp_path):
    _, one = learned
    one = replace(one, policy=policy)
    (tmp_path / "policy.safetensors").write_bytes(to_safetensors(one, {}))
    names = {}
    exec(LOADER, names)
    act, observation = names["load_policy"](tmp_path / "policy.safetensors"), observations(50)
    np.testing.assert_allclose(act(observation), expected(one, observation), atol=TOLERANCE)
    np.testing.assert_allclose(act(observation[3]), act(observation)[3], atol=TOLERANCE)
    read = read_policy(tmp_path / "policy.safetensors")
    np.testing.assert_array_equal(read.act(observation), act(observation))
    assert (read.observation_dim, read.action_dim) == (3, 2)


def test_the_two_policies_of_a_learner_differ(learned):
    _, one = learned
    averaged, last = (expected(replace(one, policy=p), observations(9)) for p in POLICIES)
    assert np.abs(averaged - last).max() > 0.01


def test_the_loader_has_ten_lines():
    body = LOADER[LOADER.index("def load_policy") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 10


@pytest.fixture(scope="module")
def programs(dataset, tmp_path_factory):
    """The actions of every learner's program in a process that knows JAX alone."""
    folder = tmp_path_factory.mktemp("programs")
    for name, kind in LEARNERS.items():
        one = trained(kind(hidden=(16, 8)), dataset)
        (folder / f"{name}.jax").write_bytes(to_jax(one))
    rows = {"one": observations(1), "many": observations(50)}
    np.savez(folder / "observations.npz", **rows)
    imports = "".join(re.findall(r"^(?:from|import) .*\n", PROGRAM, re.MULTILINE))
    command = [sys.executable, "-c", imports + STRANGER]
    subprocess.run(command, cwd=folder, env={"JAX_PLATFORMS": "cpu"}, check=True)
    return folder, rows


@pytest.mark.parametrize("rows", ["one", "many"])
def test_the_program_acts_as_every_learner_without_this_package(learned, programs, rows):
    name, one = learned
    folder, inputs = programs
    found = np.load(folder / f"{name}-{rows}.npy")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(one, inputs[rows]), atol=TOLERANCE)


def test_the_code_of_the_page_calls_a_program(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = trained(BC(hidden=(8,)), dataset)
    Path("policy").mkdir()
    Path("policy/policy.jax").write_bytes(to_jax(one))
    names = {"observation": observations(4)}
    exec(PROGRAM, names)
    wanted = expected(one, observations(4))
    np.testing.assert_allclose(names["action"], wanted, atol=TOLERANCE)
    read = read_policy(Path("policy/policy.jax"))
    np.testing.assert_allclose(read.act(observations(4)), wanted, atol=TOLERANCE)
    assert (read.observation_dim, read.action_dim, read.facts) == (3, 2, {})


def test_the_header_describes_the_policy(dataset, tmp_path):
    one = trained(BC(hidden=(16, 8)), dataset)
    path = tmp_path / "policy.safetensors"
    path.write_bytes(to_safetensors(one, {"learner": "bc", "score": 3.5, "environment": None}))
    facts = read_policy(path).facts
    assert facts["format"] == "dawm_jax policy 1"
    assert json.loads(facts["layers"]) == [3, 16, 8, 2]
    assert (facts["activation"], facts["output"], facts["policy"]) == ("relu", "tanh", "averaged")
    assert (json.loads(facts["action_low"]), json.loads(facts["action_high"])) == (
        [-2.0, 0.5],
        [3.0, 0.75],
    )
    assert (facts["learner"], facts["score"], facts["environment"]) == ("bc", "3.5", "null")
    page = PAGE.read_text()
    assert not [field for field in facts if f"`{field}`" not in page]


def test_observations_far_from_zero_keep_their_digits(dataset, tmp_path):
    origin = np.array([1e9, 0.0, -3e7])
    one = replace(trained(BC(hidden=(8,)), dataset))
    one = replace(one, dataset=replace(dataset, observation_origin=origin))
    path = tmp_path / "policy.safetensors"
    path.write_bytes(to_safetensors(one, {}))
    observation = observations(50)
    found = read_policy(path).act(observation.astype(np.float64) + origin)
    np.testing.assert_allclose(found, expected(one, observation), atol=2e-3)
    with pytest.raises(UserError, match=r"vary too little .* for float32.*use the safetensors"):
        to_jax(one)


class Gelu(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.gelu(nn.Dense(8)(x))
        return jnp.tanh(nn.Dense(2)(x))


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.LayerNorm()(nn.Dense(8)(x)))
        return jnp.tanh(nn.Dense(2)(x))


class GeluBC(BC):
    def _policy(self, statistics):
        return Gelu()


class NormedBC(BC):
    def _policy(self, statistics):
        return Normed()


@pytest.mark.parametrize(
    ("kind", "message"), [(GeluBC, "is not tanh of an MLP"), (NormedBC, "is not a plain MLP")]
)
def test_another_network_is_refused_as_arrays_and_exported_as_a_program(kind, message, dataset):
    one = trained(kind(), dataset)
    with pytest.raises(UserError, match=message):
        to_safetensors(one, {})
    assert len(to_jax(one)) > 1000


@pytest.mark.parametrize("name", ["policy.safetensors", "policy.jax"])
def test_damaged_and_foreign_files_are_refused(name, dataset, tmp_path):
    one, path = trained(BC(hidden=(8,)), dataset), tmp_path / name
    content = to_jax(one) if path.suffix == ".jax" else to_safetensors(one, {})
    for damaged in (b"", content[: len(content) // 2], b"\0" * 100, b"{" + content[1:]):
        path.write_bytes(damaged)
        with pytest.raises(
            UserError, match=f"{name} is damaged, no exported policy, or of a newer"
        ):
            read_policy(path)


def test_other_files_are_named(dataset, tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        read_policy(tmp_path / "missing.jax")
    with pytest.raises(UserError, match=r"name a file \*\.safetensors or \*\.jax"):
        read_policy(tmp_path)
    path = tmp_path / "other.safetensors"
    save_file({"weights": np.zeros(3)}, path)
    with pytest.raises(UserError, match="is no 'dawm_jax policy 1': its header says None"):
        read_policy(path)
    path.write_bytes(to_safetensors(trained(BC(hidden=(8,)), dataset), {}))
    arrays = load_file(path)
    del arrays["layers.1.bias"]
    save_file(arrays, path, {"format": policies.FORMAT})
    with pytest.raises(UserError, match="damaged, no exported policy"):
        read_policy(path)


@pytest.mark.parametrize(
    ("package", "export"), [("safetensors.numpy", "to_safetensors"), ("flatbuffers", "to_jax")]
)
def test_a_missing_package_is_named(package, export, dataset, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "jax._src.export.serialization", raising=False)
    more = [{}] if export == "to_safetensors" else []
    with pytest.raises(UserError, match=r"is not installed: pip install -e \.\[export\]"):
        getattr(policies, export)(trained(BC(hidden=(8,)), dataset), *more)
