import json

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.stages import Checkpoints, Stage, write_json


def test_a_fingerprint_depends_on_name_settings_and_all_before():
    data = Stage("data", ["x"])
    model = Stage("model", {"width": 8}, (data,))
    assert model.fingerprint == Stage("model", {"width": 8}, (Stage("data", ["x"]),)).fingerprint
    others = [
        Stage("model", {"width": 9}, (data,)),
        Stage("other", {"width": 8}, (data,)),
        Stage("model", {"width": 8}, (Stage("data", ["y"]),)),
        Stage("model", {"width": 8}),
    ]
    assert len({model.fingerprint, *(stage.fingerprint for stage in others)}) == 5


def test_the_newest_checkpoint_comes_back_with_its_record(tmp_path):
    state = {"weights": jnp.arange(3.0), "count": jnp.int32(7)}
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest(state) == (0, state, {})
    for step in (10, 20, 30):
        checkpoints.save(step, {**state, "count": jnp.int32(step)}, {"curve": [step]})
    checkpoints.close()
    step, restored, record = Checkpoints(tmp_path).latest(state)
    assert (step, int(restored["count"]), record) == (30, 30, {"curve": [30]})
    np.testing.assert_array_equal(restored["weights"], state["weights"])


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
