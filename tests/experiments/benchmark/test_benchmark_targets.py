import pytest

from experiments.benchmark.cases import D3RLPY, DAWM_JAX
from experiments.benchmark.table import target_table
from experiments.benchmark.targets import NETWORKS, measured_targets

FIELDS = {"share_of_peak", "share_of_alike", "first_over_this", "unit", "per_second"}


def row_of(suite, by=DAWM_JAX, name="", **settings):
    extra = {key: settings.pop(key) for key in FIELDS & settings.keys()}
    return {"suite": suite, "name": name, "by": by, "settings": settings, **extra}


def test_targets_are_reached_or_missed():
    results = {
        "versions": {"device": "1 x cpu"},
        "exponents": {"transitions": 1.01, "seeds": 1.2},
        "rows": [
            row_of(
                "learners",
                name="td3bc",
                seeds=1,
                share_of_peak=0.63,
                share_of_alike=0.83,
                **NETWORKS,
            ),
            row_of("learners", by=D3RLPY, name="td3bc", seeds=1, first_over_this=5.0, **NETWORKS),
            row_of("learners", name="td3bc", seeds=16, first_over_this=0.8, **NETWORKS),
        ],
    }
    measured = {
        target.what: (value, target.reached(value)) for target, value in measured_targets(results)
    }
    assert measured == {
        "exponent of the cost in transitions": (1.01, True),
        "exponent of the cost in seeds": (1.2, False),
        "TD3+BC, one seed: FLOP/s as a share of large matrix products": (0.63, False),
        "TD3+BC, one seed: FLOP/s as a share of 256 x 256 x 256 products": (0.83, True),
        "TD3+BC, one seed: speedup over d3rlpy": (5.0, False),
        "TD3+BC: seed-updates per second, 16 seeds over one": (1.25, True),
    }


@pytest.fixture
def task():
    """A row for each stage of a whole task, on an accelerator."""

    def at(rate, unit):
        return {"unit": unit, "per_second": {"median": rate}}

    half = {"size": "paper", "compute_dtype": "bfloat16"}
    paper = {"size": "paper", "batch_size": 256}
    return [
        row_of("world_model", **half, batch_size=256, **at(1000.0, "gradient steps")),
        row_of("inverse_dynamics", **paper, **at(5000.0, "gradient steps")),
        row_of("sampling", **half, batch_size=8192, **at(2.5e6, "transitions")),
        row_of("learners", name="td3bc", seeds=4, **NETWORKS, **at(50_000.0, "seed-updates")),
    ]


def results_on(device, rows):
    versions = {"device": device}
    return {"versions": versions, "processor": "Xeon", "exponents": {}, "rows": rows}


def test_a_whole_task_takes_the_time_of_its_stages(task):
    def seconds(rows):
        found = measured_targets(results_on("1 x NVIDIA H200", rows))
        measured = {target.what: value for target, value in found}
        return measured.get("seconds of a whole task, paper size, by the rates of its stages")

    assert seconds(task) == pytest.approx(100.0 + 10.0 + 2.0 + 100.0)
    assert seconds(task[1:]) is None


def test_a_target_may_need_several_files_of_a_machine(task):
    files = [results_on("1 x NVIDIA H200", task[:2]), results_on("1 x NVIDIA H200", task[2:])]
    assert "by the rates of its stages | at most 600 | 212 | reached |" in target_table(files)
    for other in ({"versions": {"device": "8 x NVIDIA H200"}}, {"processor": "EPYC"}):
        assert "whole task" not in target_table([files[0], {**files[1], **other}])
