"""Every learner in a run, compiled as users' runs are.

Without optimizations, jaxlib 0.10.2 on CPUs computes NaN in a donated scan of one step with layer
norm, such as ReBRAC's in a tiny run.
"""

import shutil

import numpy as np
import pytest

from dawm_jax.learners import LEARNERS
from experiments import pipeline

pytestmark = [pytest.mark.optimized, pytest.mark.slow]


def test_every_learner_runs_through_the_pipeline(finished, tmp_path):
    config, workdir, results = finished
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    config = config.copy_and_resolve_references()
    config.sources, config.learners = ("recorded",), tuple(LEARNERS)
    again = pipeline.run(config, tmp_path)
    assert [entry["name"] for entry in again["learners"]] == list(LEARNERS)
    before = [entry for entry in results["learners"] if entry["source"] == "recorded"]
    assert [entry for entry in again["learners"] if entry["name"] in finished[0].learners] == before
    for entry in again["learners"]:
        for policy in entry["policies"].values():
            assert [point["updates"] for point in policy["curve"]] == [10, 20]
        assert np.isfinite(list(entry["metrics"].values())).all()
