import json
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.data.formats.minari import load
from dawm_jax.data.streaming import StoredTransitions
from dawm_jax.sources.generate import Synthesis
from dawm_jax.types import Transition
from experiments.stages import generate as generation
from experiments.store import files
from experiments.store.stage import Stage, StageFiles
from experiments.system.signals import Interrupted, handled

STAGE = Stage("synthesis-toy", ["settings"])


class Toy:
    """Units of 3 transitions."""

    def units(self, transitions):
        return -(-transitions // 3)


def chunks(source, states, dataset, settings, key, start=0, mesh=None):
    """The transitions of unit number i are full of i; every fifth unit has one less."""
    units = source.units(settings.transitions)
    for begin in range(start, units, settings.chunk):
        end = min(begin + settings.chunk, units)
        numbers = np.repeat(np.arange(begin, end), 3).astype(np.float32)
        numbers = numbers[(np.arange(len(numbers)) % 3 != 0) | (numbers % 5 != 0)]
        wide = np.tile(numbers[:, None], 11)
        transitions = Transition(
            observation=wide,
            action=wide[:, :3] / 40,
            reward=numbers,
            discount=np.full_like(numbers, 0.99),
            next_observation=wide,
            next_action=wide[:, :3] / -40,
            next_action_mask=numbers >= 0,
            recorded=numbers < 0,
        )
        yield end, transitions


@pytest.fixture
def run(recorded, tmp_path, monkeypatch):
    """What `generate` needs of a run."""
    monkeypatch.setattr(generation, "synthesize_parts", chunks)
    return SimpleNamespace(
        workdir=tmp_path,
        dataset=load(recorded),
        components=SimpleNamespace(synthesis=Synthesis(transitions=90, chunk=8)),
        config=SimpleNamespace(pool_memory=None),
        key=lambda name: jax.random.key(0),
        profile=False,
    )


def generate(run):
    return generation.generate(run, STAGE, Toy(), {})


def files_of(run):
    return StageFiles(run.workdir / "stages" / f"synthesis-toy-{STAGE.fingerprint}")


def broken_off(run, monkeypatch, units):
    """Starts a generation that ends before it has the part up to unit `units`."""

    def until(*args, **kwargs):
        for end, part in chunks(*args, **kwargs):
            if end == units:
                raise KeyboardInterrupt
            yield end, part

    monkeypatch.setattr(generation, "synthesize_parts", until)
    with pytest.raises(KeyboardInterrupt):
        generate(run)
    monkeypatch.setattr(generation, "synthesize_parts", chunks)


def starts(monkeypatch):
    """Where generation starts from now on."""
    seen = []

    def watched(*args, start, **kwargs):
        seen.append(start)
        return chunks(*args, start=start, **kwargs)

    monkeypatch.setattr(generation, "synthesize_parts", watched)
    return seen


@pytest.fixture
def whole(run):
    """The bytes of an undisturbed result, which is then deleted."""
    made, record = generate(run)
    content = files_of(run).transitions.read_bytes()
    assert record["transitions"] == len(made.reward) == 84
    assert record["transitions_per_second"] > 0
    assert record["commit"] == generation.commit()
    np.testing.assert_array_equal(np.unique(made.reward), np.arange(30))
    np.testing.assert_allclose(made.action, made.observation[:, :3] / 40, atol=1e-6)
    np.testing.assert_allclose(made.next_action, -made.action, atol=1e-6)
    assert not files_of(run).parts.exists()
    for name in ("transitions.npz", "record.json"):
        files.remove(files_of(run).path / name)
    return content


def assert_whole(run, whole):
    made, record = generate(run)
    assert files_of(run).transitions.read_bytes() == whole
    assert record["transitions"] == len(made.reward) == 84
    assert not files_of(run).parts.exists()


def test_finished_parts_are_kept(run, whole, monkeypatch):
    broken_off(run, monkeypatch, units=16)
    seen = starts(monkeypatch)
    assert_whole(run, whole)
    assert_whole(run, whole)
    assert seen == [8]


def test_a_finished_result_is_found(run, whole, monkeypatch, capsys):
    assert_whole(run, whole)
    seen = starts(monkeypatch)
    capsys.readouterr()
    assert_whole(run, whole)
    assert seen == []
    assert capsys.readouterr().out == "synthesis-toy: found\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_part(run, whole, monkeypatch, number):
    def hit(*args, **kwargs):
        for end, part in chunks(*args, **kwargs):
            if end == 16:
                os.kill(os.getpid(), number)
            yield end, part

    monkeypatch.setattr(generation, "synthesize_parts", hit)
    with handled(), pytest.raises(Interrupted) as caught:
        generate(run)
    assert caught.value.saved == "synthesis-toy up to unit 16 of 30"
    seen = starts(monkeypatch)
    assert_whole(run, whole)
    assert seen == [16]


@pytest.mark.parametrize(("damaged", "start"), [(0, 0), (1, 8), (2, 16)])
def test_a_damaged_part_is_named_and_made_again(run, whole, monkeypatch, capsys, damaged, start):
    broken_off(run, monkeypatch, units=30)
    parts = sorted(files_of(run).parts.glob("*.npz"))
    assert len(parts) == 3
    content = bytearray(parts[damaged].read_bytes())
    content[200] ^= 1
    parts[damaged].write_bytes(content)
    seen = starts(monkeypatch)
    assert_whole(run, whole)
    assert seen == [start]
    said = capsys.readouterr().out
    assert f"synthesis-toy: '{parts[damaged].name}' differs from its checksum" in said


def test_a_lost_part_is_named_and_made_again(run, whole, monkeypatch, capsys):
    broken_off(run, monkeypatch, units=30)
    lost = min(files_of(run).parts.glob("*.npz"))
    lost.unlink()
    seen = starts(monkeypatch)
    assert_whole(run, whole)
    assert seen == [0]
    assert f"synthesis-toy: '{lost.name}' is missing" in capsys.readouterr().out


def test_another_chunk_goes_on_with_the_parts(run, whole, monkeypatch):
    broken_off(run, monkeypatch, units=30)
    files.remove(sorted(files_of(run).parts.glob("*.npz"))[1])
    run.components.synthesis = replace(run.components.synthesis, chunk=5)
    seen = starts(monkeypatch)
    assert_whole(run, whole)
    assert seen == [8]


def test_the_facts_are_those_of_the_file(run, whole):
    _, record = generate(run)
    with np.load(files_of(run).transitions) as stored:
        assert record["terminal_share"] == np.mean(stored["discount"] == 0.0)
        assert record["reward_mean"] == pytest.approx(stored["reward"].mean(), rel=1e-6)


@pytest.mark.parametrize(("parts", "where"), [(1.0, Transition), (0.99, StoredTransitions)])
def test_more_than_the_budget_stays_in_the_file(run, whole, parts, where):
    expected, _ = generate(run)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(expected))
    run.config.pool_memory = parts * size / 2**30
    made, _ = generate(run)
    assert type(made) is where
    if where is StoredTransitions:
        assert made.memory == int(0.99 * size) // 8
        made = made.rows(np.arange(len(made)))
    jax.tree.map(np.testing.assert_array_equal, made, expected)


@pytest.mark.parametrize("name", ["transitions.npz", "record.json"])
def test_a_damaged_result_is_named_and_made_again(run, whole, monkeypatch, capsys, name):
    assert_whole(run, whole)
    path = files_of(run).path / name
    path.write_bytes(path.read_bytes()[:-2])
    assert_whole(run, whole)
    assert f"synthesis-toy: '{name}' differs from its checksum" in capsys.readouterr().out
    assert json.loads(files_of(run).record.read_text())["transitions"] == 84


def test_a_rate_that_was_not_measured_is_null(run, whole, monkeypatch):
    """All parts were made by a process that was killed before it joined them."""

    def killed(parts, path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(generation.transitions, "join", killed)
        with pytest.raises(KeyboardInterrupt):
            generate(run)
    _, record = generate(run)
    assert record["transitions_per_second"] is None
    assert record["transitions"] == 84
    assert jnp.isfinite(record["reward_mean"])


def test_a_chunk_is_traced_and_the_result_is_the_same(run, whole, monkeypatch, capsys):
    made = starts(monkeypatch)
    run.profile = True
    assert_whole(run, whole)
    assert made == [0, 0, 0]  # once to compile, once for the trace, once for the parts
    folder = run.workdir / "profile" / STAGE.name
    assert f"synthesis-toy: a trace of one chunk is in {folder}\n" in capsys.readouterr().out
    assert list(folder.rglob("perfetto_trace.json.gz"))
    assert_whole(run, whole)  # of a finished one, too
    assert made == [0] * 5
