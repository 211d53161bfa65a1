"""A source that is defined here alone runs through the whole pipeline: no other file knows it."""

import inspect
from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import to_transitions
from dawm_jax.models.inverse_dynamics import InverseDynamics
from dawm_jax.settings import NotNegative
from dawm_jax.sources import SOURCES
from experiments import pipeline
from experiments.configs import tiny
from experiments.faults.comparison import without_timings
from experiments.stages import train as training
from experiments.store.stage import stages_of

SMALL = InverseDynamics(steps=20, hidden=(16,), batch_size=16)


@dataclass(frozen=True)
class Noisy:
    """Recorded transitions with inferred actions and noise on the rewards."""

    version: ClassVar[int] = 1

    inverse: InverseDynamics = field(default_factory=lambda: SMALL)
    deviation: NotNegative = 0.1

    def models(self):
        return {"inverse": self.inverse}

    def data(self, name, dataset):
        return TransitionSet(to_transitions(dataset))

    def units(self, transitions):
        return transitions

    def inputs(self, dataset):
        return to_transitions(dataset)

    def calibrate(self, states, inputs, key):
        return inputs

    def generate(self, states, inputs, index, key):
        def one_row(number):
            row_key, noise_key = jax.random.split(jax.random.fold_in(key, number))
            row = jax.random.randint(row_key, (1,), 0, len(inputs.reward))
            step = jax.tree.map(lambda leaf: leaf[row], inputs)
            return step.replace(
                action=self.inverse.predict(
                    states["inverse"], step.observation, step.next_observation
                ),
                reward=step.reward + self.deviation * jax.random.normal(noise_key, (1,)),
                recorded=jnp.zeros(1, bool),
            )

        return jax.vmap(one_row)(index), jnp.ones((len(index), 1), bool)


@pytest.fixture(scope="module")
def noisy(recorded, tmp_path_factory):
    """The config, folder and results of a run with that source."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SOURCES, "noisy", Noisy)
        config = tiny.get_config(recorded)
        config.sources, config.learners = ("recorded", "noisy"), ("bc", "td3bc")
        workdir = tmp_path_factory.mktemp("noisy")
        yield config, workdir, pipeline.run(config, workdir)


def test_the_source_has_fewer_than_40_lines():
    assert len(inspect.getsource(Noisy).splitlines()) < 40


def test_its_results_are_those_of_any_source(noisy):
    config, workdir, results = noisy
    assert list(results["sources"]) == ["recorded", "noisy"]
    found = results["sources"]["noisy"]
    assert list(found["models"]) == ["inverse"]
    assert found["models"]["inverse"]["parameters"] > 0
    assert found["synthesis"]["transitions"] == config.synthesis.transitions == 300
    assert found["fidelity"]["rollouts"] is None
    judged = found["fidelity"]["transitions"]["simulator"]
    assert judged["judged"] > 0
    assert judged["rewards"] < 1.0
    names = {stage.stage for stage in stages_of(workdir)}
    assert names == {"inverse", "synthesis-noisy", "transitions-noisy"} | {
        f"{learner}-{source}" for learner in config.learners for source in config.sources
    }
    assert {path.name for path in workdir.glob("*.png")} == {"learning_curves.png"}


def test_its_transitions_are_recorded_ones_with_noise(noisy):
    config, workdir, results = noisy
    recorded = jax.tree.map(np.asarray, to_transitions(pipeline.load(config.dataset)))
    with np.load(workdir / results["sources"]["noisy"]["synthesis"]["file"]) as stored:
        rows = {tuple(row): n for n, row in enumerate(recorded.observation)}
        numbers = [rows[tuple(row)] for row in stored["observation"]]
        noise = stored["reward"] - recorded.reward[numbers]
        np.testing.assert_array_equal(
            stored["next_observation"], recorded.next_observation[numbers]
        )
    assert noise.std() == pytest.approx(0.1, rel=0.2)
    assert not results["sources"]["noisy"]["models"].keys() & {"world_model", "inverse_dynamics"}


def test_learners_are_trained_on_it(noisy):
    config, _, results = noisy
    pairs = [(entry["name"], entry["source"]) for entry in results["learners"]]
    assert pairs == [(name, source) for source in config.sources for name in config.learners]
    seeds = {e["source"]: e["policies"]["averaged"]["seeds"] for e in results["learners"]}
    assert seeds["noisy"] != seeds["recorded"]
    for entry in results["learners"]:
        for policy in entry["policies"].values():
            assert policy["curve"][-1]["updates"] == config.updates
            assert len(policy["seeds"]) == config.seeds


def test_a_second_run_finds_everything(noisy, monkeypatch, capsys):
    config, workdir, results = noisy
    monkeypatch.setattr(training, "train", lambda *args, **kwargs: pytest.fail("trained again"))
    before = stages_of(workdir)
    again = pipeline.run(config, workdir)
    assert without_timings(again) == without_timings(results)
    assert stages_of(workdir) == before
    printed = capsys.readouterr().out
    for stage in ("inverse", "synthesis-noisy", "bc-noisy", "td3bc-recorded"):
        assert f"{stage}: found" in printed
