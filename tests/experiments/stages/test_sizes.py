import json
from types import SimpleNamespace

import pytest

from dawm_jax.sources.generate import Synthesis
from experiments.stages import sizes


@pytest.fixture
def fits(monkeypatch):
    """What the memory is said to hold, and how often that was asked."""
    said = SimpleNamespace(windows=512, asked=0)

    def fitting(*_):
        said.asked += 1
        return said.windows

    monkeypatch.setattr(sizes, "fitting_chunk", fitting)
    return said


def chunk(folder, **settings):
    parts = SimpleNamespace(
        world_model=None, inverse_dynamics=None, synthesis=Synthesis(**settings)
    )
    run = SimpleNamespace(components=parts, dataset=None)
    settings = sizes.sized(run, "synthesis", folder, None, None)
    assert settings.temperature == parts.synthesis.temperature
    return settings.chunk


def test_what_fits_is_chosen_once_and_kept_where_the_memory_is_another(tmp_path, fits, capsys):
    assert chunk(tmp_path) == 512
    assert capsys.readouterr().out == "synthesis: 512 windows at once\n"
    fits.windows = 64
    assert chunk(tmp_path, temperature=0.7) == 512
    assert capsys.readouterr().out == ""
    assert fits.asked == 1
    assert json.loads((tmp_path / "chunk.json").read_text()) == {"windows": 512}


def test_a_chunk_that_is_set_counts(tmp_path, fits):
    chunk(tmp_path)
    assert chunk(tmp_path, chunk=100) == 100
    assert chunk(tmp_path) == 512
    assert fits.asked == 1


def test_a_damaged_choice_is_made_again(tmp_path, fits, capsys):
    chunk(tmp_path)
    (tmp_path / "chunk.json").write_text("{")
    fits.windows = 64
    assert chunk(tmp_path) == 64
    assert "'chunk.json' is not as it was written: it is made again" in capsys.readouterr().out
