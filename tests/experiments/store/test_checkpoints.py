import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.store import files
from experiments.store.checkpoints import Checkpoints

STATE = {"weights": jnp.arange(3.0), "key": jax.random.key(3)}


def opened(folder):
    return Checkpoints(folder / "checkpoints", "td3bc-recorded", keep=2)


@pytest.fixture
def folder(tmp_path):
    """The steps 10, 20 and 30 were saved."""
    checkpoints = opened(tmp_path)
    for step in (10, 20, 30):
        checkpoints.save(step, {**STATE, "weights": step + jnp.arange(3.0)}, {"step": step})
    checkpoints.close()
    return tmp_path


def files_of(folder, step):
    return [path for path in (folder / "checkpoints" / str(step)).rglob("*") if path.is_file()]


def test_the_newest_two_are_kept_with_their_records(folder):
    checkpoints = opened(folder)
    assert checkpoints.steps() == [20, 30]
    assert checkpoints.newest() == 30
    for step in (20, 30):
        state = checkpoints.load(step, STATE)
        np.testing.assert_array_equal(state["weights"], step + np.arange(3.0))
        assert jnp.all(jax.random.key_data(state["key"]) == jax.random.key_data(STATE["key"]))
        assert checkpoints.record(step) == {"step": step}
    names = {path.name for path in (folder / "checkpoints").iterdir()}
    assert names == {"20", "30", "20.sha256", "30.sha256"}


def test_an_empty_folder_has_no_checkpoint(tmp_path, capsys):
    assert opened(tmp_path).newest() is None
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("how", ["flipped", "cut", "missing"])
def test_any_damaged_file_is_named_and_the_step_before_is_used(folder, tmp_path, how, capsys):
    paths = [path for path in files_of(folder, 30) if how == "missing" or path.stat().st_size]
    assert any("state/d/" in str(path) for path in paths)
    for path in paths:
        place = tmp_path / "copy"
        shutil.copytree(folder / "checkpoints", place / "checkpoints")
        name = path.relative_to(folder / "checkpoints")
        victim = place / "checkpoints" / name
        content = bytearray(victim.read_bytes())
        if how == "flipped":
            content[len(content) // 2] ^= 4
        if how == "missing":
            victim.unlink()
        else:
            victim.write_bytes(content[: len(content) - (how == "cut")])
        checkpoints = opened(place)
        assert checkpoints.newest() == 20
        assert checkpoints.steps() == [20]
        assert not (place / "checkpoints" / "30").exists()
        said = "is missing" if how == "missing" else "differs from its checksum"
        expected = f"td3bc-recorded: in checkpoints, '{name}' {said}: step 30 is deleted\n"
        assert capsys.readouterr().out == expected
        shutil.rmtree(place)


def test_damage_to_every_step_is_reported(folder, capsys):
    for step in (20, 30):
        (folder / "checkpoints" / str(step) / "record" / "metadata").unlink()
    checkpoints = opened(folder)
    assert checkpoints.newest() is None
    assert "td3bc-recorded: no undamaged step is left in checkpoints" in capsys.readouterr().out
    checkpoints.save(10, STATE, {})
    assert checkpoints.newest() == 10


def test_leftovers_of_a_killed_process_are_cleaned_up(folder, capsys):
    """A step half deleted or not sealed, one that orbax was writing, a half-written seal."""
    place = folder / "checkpoints"
    files.seal_of(place / "30").unlink()
    (place / "40.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    (place / "10").mkdir()
    (place / "30.sha256.123.partial").write_text("0")
    checkpoints = opened(folder)
    assert checkpoints.newest() == 20
    assert {path.name for path in place.iterdir()} == {"20", "20.sha256"}
    assert capsys.readouterr().out == ""
    checkpoints.save(30, STATE, {})
    assert checkpoints.steps() == [20, 30]


def test_older_steps_are_deleted_only_after_the_new_one_is_sealed(folder, monkeypatch):
    def full(path):
        raise OSError("full")

    checkpoints = opened(folder)
    monkeypatch.setattr(files, "seal", full)
    with pytest.raises(OSError, match="full"):
        checkpoints.save(40, STATE, {})
    assert checkpoints.steps() == [20, 30]
    assert opened(folder).newest() == 30
