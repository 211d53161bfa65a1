"""A training stage on a toy component: what it keeps whatever happens, and how it goes on."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from toy_stage import (
    Walk,
    assert_equal_results,
    files_of,
    lines,
    returns_of,
    start,
    steps,
)

from dawm_jax.errors import UserError
from experiments.stages import train as training
from experiments.store import files
from experiments.store.checkpoints import Checkpoints
from experiments.system.signals import Interrupted, handled

pytestmark = pytest.mark.optimized


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed stage with two seeds, measured on the way."""
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, start(workdir, seeds=2, measure=returns_of)


def test_the_last_two_and_the_best_are_kept_and_the_last_counts(whole):
    workdir, trained = whole
    points = trained.record["curve"]
    assert [point["updates"] for point in points] == [4, 8, 12]
    assert points[-1]["returns"] == returns_of(trained.state)
    found = files_of(workdir)
    assert steps(found.checkpoints) == [8, 12]
    scores = [np.mean(point["returns"]["averaged"]) for point in points]
    assert steps(found.best) == [4 * (1 + int(np.argmax(scores)))]
    assert json.loads(found.curve.read_text()) == points
    assert trained.record["commit"] == training.commit()


def test_without_returns_the_best_has_the_lowest_loss(tmp_path):
    trained = start(tmp_path)
    losses = {line["step"]: line["loss"] for line in lines(tmp_path) if line["step"] % 4 == 0}
    assert steps(files_of(tmp_path).best) == [min(losses, key=losses.get)]
    assert [point["returns"] for point in trained.record["curve"]] == [{}, {}, {}]


@pytest.mark.parametrize("call", range(1, 11))
def test_broken_off_at_any_write_it_ends_with_the_same_bits(whole, tmp_path, monkeypatch, call):
    """Before each rename by which a file or a seal gets its name; there are ten of them."""
    rename, seen = os.replace, []

    def killed(source, target):
        seen.append(target)
        if len(seen) == call:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(files.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, seeds=2, measure=returns_of)
    trained = start(tmp_path, seeds=2, measure=returns_of)
    assert_equal_results(tmp_path, trained, whole)


def test_a_state_is_saved_before_it_is_measured_and_only_measured_again(
    whole, tmp_path, monkeypatch, capsys
):
    measured = []

    def failing(state):
        measured.append(int(state["count"][0]))
        if len(measured) == 3:
            raise UserError("the environment failed")
        return returns_of(state)

    with pytest.raises(UserError, match="the environment failed"):
        start(tmp_path, seeds=2, measure=failing)
    assert steps(files_of(tmp_path).checkpoints) == [8, 12]

    def no_training(*args, **kwargs):
        return iter(())

    monkeypatch.setattr(training, "train", no_training)
    trained = start(tmp_path, seeds=2, measure=failing)
    assert measured == [4, 8, 12, 12]
    assert_equal_results(tmp_path, trained, whole)
    capsys.readouterr()
    again = start(tmp_path, seeds=2, measure=failing)
    assert capsys.readouterr().out == "walk: found, 12 updates\n"
    assert_equal_results(tmp_path, again, whole)
    assert len(measured) == 4


def signalled(number, at):
    """A measure that sends this process a signal when it is called for update `at`."""

    def measure(state):
        if int(state["count"][0]) == at:
            os.kill(os.getpid(), number)
        return returns_of(state)

    return measure


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_chunk_end_and_saves(whole, tmp_path, monkeypatch, number):
    """Update 6 is at the end of a chunk, but no multiple of `save_every`."""
    real = training.train

    def train(*args, **kwargs):
        for done, state, metrics in real(*args, **kwargs):
            if done == 6 and not kwargs["start"]:
                os.kill(os.getpid(), number)
            yield done, state, metrics

    monkeypatch.setattr(training, "train", train)
    with handled(), pytest.raises(Interrupted) as caught:
        start(tmp_path, seeds=2, measure=returns_of)
    assert caught.value.saved == "walk up to update 6 of 12"
    assert caught.value.status == 128 + number
    assert steps(files_of(tmp_path).checkpoints) == [4, 6]
    assert_equal_results(tmp_path, start(tmp_path, seeds=2, measure=returns_of), whole)


@pytest.mark.parametrize("at", [8, 12])
def test_a_signal_during_evaluation_lets_it_end(whole, tmp_path, at):
    with handled(), pytest.raises(Interrupted):
        start(tmp_path, seeds=2, measure=signalled(signal.SIGINT, at))
    points = json.loads(files_of(tmp_path).curve.read_text())
    assert points[-1]["updates"] == at
    assert_equal_results(tmp_path, start(tmp_path, seeds=2, measure=returns_of), whole)


def test_a_damaged_curve_is_named_and_only_the_last_point_measured_again(whole, tmp_path, capsys):
    start(tmp_path, seeds=2, measure=returns_of)
    path = files_of(tmp_path).curve
    path.write_text(path.read_text().replace("returns", "rEturns"))
    measured = []

    def measure(state):
        measured.append(int(state["count"][0]))
        return returns_of(state)

    trained = start(tmp_path, seeds=2, measure=measure)
    assert measured == [12]
    assert "walk: 'curve.json' differs from its checksum" in capsys.readouterr().out
    assert_equal_results(tmp_path, trained, whole)


def test_a_damaged_step_costs_what_came_after_the_one_before(whole, tmp_path, capsys):
    start(tmp_path, seeds=2, measure=returns_of)
    checkpoints = files_of(tmp_path).checkpoints
    for cut in ("12", "8"):  # first the last one, then both
        (checkpoints / cut / "_CHECKPOINT_METADATA").write_text("")
        if cut == "8":
            (checkpoints / "12" / "_CHECKPOINT_METADATA").write_text("")
        trained = start(tmp_path, seeds=2, measure=returns_of)
        assert f"'{cut}/_CHECKPOINT_METADATA' differs from its checksum" in capsys.readouterr().out
        assert_equal_results(tmp_path, trained, whole)


@pytest.mark.parametrize(("bad_from", "saved"), [(9, 8), (8, 4), (5, 4), (1, 0)])
def test_a_number_that_is_not_finite_leaves_the_last_checkpoint(tmp_path, bad_from, saved):
    message = (
        rf"^walk: 'loss' of Walk is not finite in update {bad_from}\. .*learning rate.*"
        rf"resume from update {saved}\.$"
    )
    for _ in range(2):  # the same command fails in the same way
        with pytest.raises(UserError, match=message):
            start(tmp_path, Walk(bad_from))
        found = Checkpoints(files_of(tmp_path).checkpoints, "walk", keep=2)
        assert found.newest() == (saved or None)
        if saved:
            state = found.load(saved)
            assert int(state["count"]) == saved
            assert np.isfinite(state["x"])


HOLD = """
import fcntl, sys
with open(sys.argv[1], "a") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("in", flush=True)
    input()
"""


def test_two_processes_in_one_stage_are_one_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.1)
    folder = files_of(tmp_path).path
    folder.mkdir(parents=True)
    command = [sys.executable, "-c", HOLD, str(folder / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(UserError, match="another process is working on the stage walk"):
            start(tmp_path)
        other.communicate(b"\n")
    assert start(tmp_path).record["curve"]
