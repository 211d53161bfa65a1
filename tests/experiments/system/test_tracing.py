"""Traces of stages: they hold the program's events, and leave the results alone."""

import gzip
import json

import pytest
from toy_stage import Walk, assert_equal_results, returns_of, start

from dawm_jax.errors import UserError
from dawm_jax.training import loop as training
from experiments.system import tracing as profiling

pytestmark = pytest.mark.optimized


def traces(workdir, name):
    """The events of each trace of a stage."""
    for path in sorted((workdir / "profile" / name).rglob("perfetto_trace.json.gz")):
        assert next(path.parent.glob("*.xplane.pb")).stat().st_size > 0
        with gzip.open(path) as file:
            yield json.load(file)["traceEvents"]


def assert_of_a_compiled(function, events):
    """The events hold the call of that function, and nothing was compiled in their time."""
    names = {event.get("name", "") for event in events}
    assert f"PjitFunction({function})" in names
    assert not any("backend_compile" in name for name in names)


@pytest.fixture
def whole(tmp_path):
    """An undisturbed stage with two seeds, measured on the way, and no trace."""
    trained = start(tmp_path / "whole", seeds=2, measure=returns_of)
    assert not (tmp_path / "whole" / "profile").exists()
    return tmp_path / "whole", trained


def test_a_traced_stage_ends_with_the_same_bits(whole, tmp_path, capsys, monkeypatch):
    compiled = []
    real = training.train_chunk

    def watched(component, updates, mesh):
        compiled.append(updates)
        return real(component, updates, mesh)

    monkeypatch.setattr(training, "train_chunk", watched)
    trained = start(tmp_path / "traced", seeds=2, measure=returns_of, profile=True)
    assert compiled == [4, 2]  # of 12 updates, 5 are no divisor; then the stage's own chunk
    assert_equal_results(tmp_path / "traced", trained, whole)
    (events,) = traces(tmp_path / "traced", "walk")
    assert_of_a_compiled("all_seeds", events)
    folder = tmp_path / "traced" / "profile" / "walk"
    assert f"walk: a trace of 4 updates is in {folder}\n" in capsys.readouterr().out


def test_a_finished_stage_is_traced_and_stays_as_it_is(whole, capsys):
    workdir, _ = whole
    again = start(workdir, seeds=2, measure=returns_of, profile=True)
    assert_equal_results(workdir, again, whole)
    assert len(list(traces(workdir, "walk"))) == 1
    assert "walk: found, 12 updates\n" in capsys.readouterr().out


def test_a_failing_stage_raises_its_own_error(tmp_path):
    with pytest.raises(UserError, match=r"^walk: 'loss' .* in update 3\."):
        start(tmp_path, Walk(bad_from=3), profile=True)


def test_a_single_update_is_not_traced(tmp_path, capsys):
    start(tmp_path, Walk(steps=1), chunk=1, profile=True)
    assert "walk: too few updates to trace" in capsys.readouterr().out
    assert not (tmp_path / "profile").exists()


def test_other_processes_call_and_the_first_writes(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(profiling, "is_first", lambda: False)
    profiling.trace(tmp_path, "walk", "calls", lambda: calls.append(1))
    assert len(calls) == 2
    assert not list(tmp_path.iterdir())
