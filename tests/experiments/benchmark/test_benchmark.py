import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import to_transitions
from dawm_jax.errors import UserError
from dawm_jax.learners import IQL, TD3BC, DataStatistics
from dawm_jax.networks import convolution, temporal_unet
from dawm_jax.networks.temporal_unet import TemporalUNet
from experiments.benchmark import campaign, flops, measure, quiet
from experiments.benchmark.bars import NETWORKS, bars
from experiments.benchmark.cases import D3RLPY, OURS, PRODUCTS, ROOFS, Case, Group
from experiments.benchmark.measure import Protocol
from experiments.benchmark.peers import same_function
from experiments.benchmark.peers.environment import find
from experiments.benchmark.peers.process import started
from experiments.benchmark.random_data import ACTION, OBSERVATION, random_dataset
from experiments.benchmark.roof import roofs
from experiments.benchmark.scope import ACCELERATOR, PROCESSOR
from experiments.benchmark.suites import SUITES
from experiments.benchmark.suites.learners import learner_case
from experiments.benchmark.suites.scale import exponent
from experiments.benchmark.table import benchmark, reached, rows
from experiments.configs import quickstart
from experiments.readme import renewed
from experiments.run.config import build
from experiments.system.machine import cores
from experiments.system.signals import Interrupted

ALL = {"peers": None, "budget": 600.0, "rounds": 1, "smoke": True}


@pytest.fixture(scope="module")
def results():
    """The smoke version: every suite, the least of everything, quick to compile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # of the processes it starts
        jax.config.update("jax_disable_most_optimizations", True)
        try:
            *_, whole = campaign.run(campaign.asked(tuple(SUITES), (), **ALL))
            return whole
        finally:
            jax.config.update("jax_disable_most_optimizations", False)


def test_every_suite_is_measured(results):
    assert {row["suite"] for row in results["rows"]} == set(SUITES)
    assert results["notes"] == []
    assert set(results["seconds"]) == set(SUITES)
    assert "data" in results["exponents"]
    assert json.loads(json.dumps(results, allow_nan=False))["cores"] == len(cores())


def test_every_row_is_whole(results):
    for row in results["rows"]:
        assert row["seconds_a_call"] > 0.0
        assert row["kept"] + row["thrown_out"] == 1
        rate = row["per_second"]
        assert rate["low"] <= rate["median"] <= rate["high"]
        if row["by"] == OURS and row["suite"] in ("sampling", "learners", "world_model"):
            assert row["flops_per_second"] > 0.0
            assert row["compile_seconds"] >= 0.0
            assert "share_of_peak" in row
            assert (row["share_of_alike"] is not None) == (row["suite"] == "learners")


def test_the_roofs_are_measured_in_every_comparison(results):
    for suite in ("sampling", "learners", "world_model", "inverse_dynamics"):
        rows = [row for row in results["rows"] if row["suite"] == suite]
        groups = {(row["name"], row["by"]) for row in rows}
        names = {name for name, _ in groups}
        assert names == {name for name, by in groups if by == PRODUCTS}


def test_its_table_stands_in_a_readme(results, tmp_path):
    file = tmp_path / "cpu.json"
    file.write_text(json.dumps(results))
    text = renewed(f"before\n<!-- benchmark: {file} -->\nold\n<!-- end of table -->\nafter\n")
    assert rows([results]) in text
    assert benchmark([results]).endswith(rows([results]))
    assert "\nold\n" not in text
    assert text.startswith("before\n<!-- benchmark: ")
    table = [line for line in text.splitlines() if line.startswith("| ")]
    ours = [row for row in results["rows"] if row["by"] not in ROOFS]
    shown = [line for line in table if line.split(" | ")[0][2:] in SUITES]
    assert len(shown) == len(ours)


@pytest.mark.parametrize(
    ("rate", "shown"), [(1234.5, "1,234 windows (1,000 to"), (0.25, "1 in 4 s |"), (1.5, "1.5 win")]
)
def test_a_rate_below_one_is_shown_as_seconds_of_one(rate, shown):
    row = {"suite": "sampling", "name": "sample", "by": OURS, "settings": {}, "unit": "windows"}
    row |= {"per_second": {"low": 1000, "median": rate, "high": 2000}, "kept": 5}
    row |= {"seconds_a_call": 24.0, "compile_seconds": None}  # of several windows
    assert f"| {OURS} | {shown}" in rows([{"rows": [row]}])


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        ({}, "2-cpu-cores-2026-11-26.json"),
        ({"suites": ["world_model"]}, "2-cpu-cores-world_model-2026-11-26.json"),
        ({"sizes": ["paper"], "only": "td3bc: 4"}, "2-cpu-cores-paper-td3bc-4-2026-11-26.json"),
    ],
)
def test_a_part_of_the_benchmark_does_not_overwrite_the_whole(chosen, name):
    settings = {"suites": list(SUITES), "sizes": ["paper", "small"], "only": "", **chosen}
    found = {"versions": {"device": "1 x cpu"}, "cores": 2, "date": "2026-11-26T01:02:03+00:00"}
    assert campaign.file_name({**found, "settings": settings}) == name


@pytest.mark.parametrize(("count", "made"), [(0.3, 1), (7, 7), (1_490, 3 * 497)])
def test_a_chain_of_products_makes_those_it_counts(count, made):
    flops_of_one = 2.0 * 4 * 8 * 8
    [case] = roofs(
        replace(PROCESSOR, products=((4, 8),), flops_a_call=count * flops_of_one), "float32"
    )
    assert case.work == {"products": made}
    assert case.flops == made * flops_of_one
    assert case.call(1) > 0.0


@pytest.mark.parametrize(
    ("name", "networks"), [("td3bc", ("critic", "actor")), ("iql", ("critic", "actor", "value"))]
)
def test_bytes_of_an_update_are_of_the_networks_that_it_changes(name, networks):
    case = learner_case(name, hidden=(8,), transitions=100, seeds=1, updates=4)
    inputs = {"critic": OBSERVATION + ACTION, "actor": OBSERVATION, "value": OBSERVATION}
    outputs = {"critic": 1, "actor": ACTION, "value": 1}
    numbers = {n: (inputs[n] + 1) * 8 + 9 * outputs[n] for n in networks}
    numbers["critic"] *= 2
    numbers["actor"] = numbers["actor"] / 2 if name == "td3bc" else numbers["actor"] + ACTION
    assert case.moved == 4 * 40 * sum(numbers.values())


FIELDS = {"share_of_peak", "share_of_alike", "first_over_this", "unit", "per_second"}


def row_of(suite, by=OURS, name="", **settings):
    extra = {key: settings.pop(key) for key in FIELDS & settings.keys()}
    return {"suite": suite, "name": name, "by": by, "settings": settings, **extra}


def test_bars_are_reached_or_missed():
    found = {
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
    measured = {bar.what: (value, bar.reached(value)) for bar, value in bars(found)}
    assert measured == {
        "exponent of cost in transitions": (1.01, True),
        "exponent of cost in seeds": (1.2, False),
        "TD3+BC, one seed: share of the rate of large matrix products": (0.63, False),
        "TD3+BC, one seed: share of the rate of 256 x 256 x 256 products": (0.83, True),
        "TD3+BC, one seed: times d3rlpy": (5.0, False),
        "TD3+BC: seed-updates of 16 seeds over one's": (1.25, True),
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


def on(device, rows):
    versions = {"device": device}
    return {"versions": versions, "processor": "Xeon", "exponents": {}, "rows": rows}


def test_a_whole_task_takes_the_time_of_its_stages(task):
    def seconds(rows):
        measured = {bar.what: value for bar, value in bars(on("1 x NVIDIA H200", rows))}
        return measured.get("seconds of a whole task at the paper's size, by its stages' rates")

    assert seconds(task) == pytest.approx(100.0 + 10.0 + 2.0 + 100.0)
    assert seconds(task[1:]) is None


def test_a_bar_may_need_several_files_of_a_machine(task):
    files = [on("1 x NVIDIA H200", task[:2]), on("1 x NVIDIA H200", task[2:])]
    assert "by its stages' rates | at most 600 | 212 | reached |" in reached(files)
    for other in ({"versions": {"device": "8 x NVIDIA H200"}}, {"processor": "EPYC"}):
        assert "whole task" not in reached([files[0], {**files[1], **other}])


def test_on_several_accelerators_all_of_them_are_measured(run_on_eight_devices):
    done = run_on_eight_devices(Path(__file__).with_name("eight_accelerators.py"))
    assert done.returncode == 0, done.stdout


def flops_of(function, *arguments):
    """XLA's count, which holds operations on each element too."""
    return jax.jit(function).lower(*arguments).cost_analysis()["flops"]


@pytest.mark.parametrize(
    ("learner", "counted"),
    [
        (TD3BC(hidden=(128, 96), batch_size=64, policy_delay=1), flops.td3bc),
        (IQL(hidden=(128, 96), batch_size=64), flops.iql),
    ],
)
def test_flops_of_an_update_are_those_of_xla(learner, counted):
    dataset = random_dataset(100)
    statistics = DataStatistics.of(dataset)
    state = jax.eval_shape(learner.init, jax.random.key(0), statistics)
    batch = TransitionSet(to_transitions(dataset)).sample(jax.random.key(1), learner.batch_shape)
    delay = (1,) if isinstance(learner, TD3BC) else ()
    ours = 64 * counted(OBSERVATION, ACTION, learner.hidden, *delay)
    assert ours == pytest.approx(flops_of(learner.update, state, batch, jax.random.key(2)), rel=0.1)


def products_of_taps(x, kernel, stride=1, left=0):
    """A convolution of the products that are counted: without a padding's, and none saved."""
    return convolution._by_tap(x, kernel, stride, left)


@pytest.mark.parametrize("multipliers", [(1,), (1, 2, 4)])
def test_flops_of_the_network_are_those_of_xla(monkeypatch, narrow_up_to, multipliers):
    narrow_up_to(0)  # of the norms, as none is a product
    monkeypatch.setattr(temporal_unet, "temporal_convolution", products_of_taps)
    network = TemporalUNet(13, width=32, multipliers=multipliers)
    one = jnp.ones(16)
    inputs = (jnp.ones((16, 8, 24)), one, one, one > 0, jnp.ones((16, ACTION)))
    params = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    layers = flops.temporal_unet(8, 24, 13, ACTION, 32, multipliers)
    assert 16 * flops.forward(layers) == pytest.approx(
        flops_of(network.apply, params, *inputs), rel=0.1
    )

    def loss(params, x):
        return jnp.sum(network.apply(params, x, *inputs[1:]) ** 2)

    assert 16 * flops.training(layers) == pytest.approx(
        flops_of(jax.grad(loss), params, inputs[0]), rel=0.1
    )


@pytest.mark.parametrize(("steps", "taps", "stride"), [(8, 5, 1), (2, 5, 1), (8, 3, 2), (1, 3, 1)])
def test_products_with_padding_are_not_counted(steps, taps, stride):
    pairs = np.convolve(np.ones(steps), np.ones(taps), "full")[taps // 2 :][:steps:stride]
    assert flops.convolution(steps, taps, 3, 7, stride) == 3 * 7 * pairs.sum()


def test_the_exponent_of_a_power_is_found():
    assert exponent([(n, 3e-6 * n**1.3) for n in (10, 100, 1000)]) == pytest.approx(1.3)


GROUP = Group("suite", "group", {}, lambda stack: [])
SHORT = Protocol(rounds=3, least_rounds=3, seconds=0.0, attempts=2, pause=0.0)


class Script:
    """A case whose calls take the given seconds, one after the other, and may be disturbed."""

    def __init__(self, seconds):
        self.seconds = list(seconds)

    def __call__(self, count):
        return self.seconds.pop(0)


def measured(monkeypatch, cases, disturbed=(), deadline=1e9, protocol=SHORT):
    watched = iter(range(100))

    class Watch:
        def __init__(self, workers):
            self.number = next(watched)

        def disturbed(self, seconds):
            return self.number in disturbed

    monkeypatch.setattr(measure, "Watch", Watch)
    lines = []
    return measure.measure(GROUP, cases, protocol, deadline, lines.append), lines


def test_rounds_are_interleaved_and_compared_pairwise(monkeypatch):
    ours = Case(OURS, {"updates": 10}, Script([9.0, 1.0, 1.0, 2.0, 3.0]), flops=100.0)
    peer = Case(D3RLPY, {"updates": 1}, Script([9.0, 1.0, 1.0, 1.0, 9.0]))
    roof = Case(PRODUCTS, {"products": 1}, Script([9.0, 1.0, 1.0, 4.0, 1.0]), flops=50.0)
    (first, second, _), lines = measured(monkeypatch, [ours, peer, roof])
    assert first["per_second"]["median"] == 5.0
    assert first["compile_seconds"] == 7.0
    assert first["flops_per_second"] == 50.0
    assert first["share_of_peak"] == 2.0  # of 2, 4 and 2/3
    assert second["first_over_this"] == 10.0  # of 10, 5 and 30
    assert lines == []


def test_a_disturbed_repetition_is_made_again(monkeypatch):
    case = Case(OURS, {"updates": 1}, Script([1.0, 1.0, 2.0, 50.0, 4.0, 60.0, 70.0]))
    (row,), _ = measured(monkeypatch, [case], disturbed={1, 3, 4})
    assert (row["kept"], row["thrown_out"]) == (2, 3)
    assert sorted(row["rates"]) == [0.25, 0.5]


def test_rows_of_disturbed_repetitions_alone_say_so(monkeypatch):
    case = Case(OURS, {"updates": 1}, Script([1.0, 1.0, *[2.0] * 6]))
    (row,), _ = measured(monkeypatch, [case], disturbed=range(100))
    assert row["kept"] == 0
    assert row["per_second"]["median"] == 0.5


def test_the_longest_case_gives_way_to_the_budget(monkeypatch):
    long = Case(OURS, {"updates": 1}, Script([50.0, 50.0]), {"seeds": 64})
    short = Case(OURS, {"updates": 1}, Script([1.0] * 5))
    roof = Case(PRODUCTS, {"products": 1}, Script([1.0] * 5), flops=1.0)
    monkeypatch.setattr(measure.time, "monotonic", lambda: 0.0)
    rows, lines = measured(monkeypatch, [short, long, roof], deadline=20.0)
    assert len(rows) == 2
    (line,) = lines
    assert "dropped" in line
    assert "'seeds': 64" in line
    assert "--budget" in line


def test_a_part_of_a_case_costs_nothing_and_is_dropped_with_it(monkeypatch):
    monkeypatch.setattr(measure.time, "monotonic", lambda: 0.0)

    def runs():
        cold, warm = (
            Case(OURS, {"runs": 1}, Script([s] * 3), {"cache": cache}, warm_up=False)
            for cache, s in (("cold", 20.0), ("warm", 10.0))
        )
        parts = (replace(case, call=Script([9.0] * 3), part_of=case) for case in (cold, warm))
        return [cold, warm, *parts]

    rows, lines = measured(monkeypatch, runs(), deadline=60.0)  # two more rounds
    assert (len(rows), lines) == (4, [])
    rows, _ = measured(monkeypatch, runs(), deadline=59.0)
    assert [row["settings"]["cache"] for row in rows] == ["warm", "warm"]


def test_cpu_time_of_others_disturbs_and_our_own_does_not(monkeypatch):
    busy, own = [10.0], [3.0]
    monkeypatch.setattr(quiet, "_busy_seconds", lambda: busy[0])
    monkeypatch.setattr(quiet, "_cpu_seconds", lambda process: own[0])
    watch = quiet.Watch([17])
    busy[0] += 1.0
    assert watch.disturbed(1.0)
    own[0] += 1.0
    assert not watch.disturbed(1.0)
    monkeypatch.setattr(quiet, "_busy_seconds", lambda: None)
    assert not quiet.Watch().disturbed(1.0)  # where it cannot be told


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"suites": ("samplin",)}, "unknown suite 'samplin'.*Did you mean 'sampling'"),
        ({"suites": ()}, "--suites is empty"),
        ({"sizes": ("huge",)}, "unknown size 'huge'"),
        ({"only": "seeds 3"}, "no group of data has 'seeds 3' in its description"),
        ({"peers": Path("/nowhere")}, "no environment in /nowhere.*--setup-peers"),
    ],
)
def test_wrong_wishes_are_one_message(changes, message):
    wishes = {"suites": ("data",), "sizes": (), **ALL, **changes}
    with pytest.raises(UserError, match=message):
        campaign.asked(**wishes)


def test_only_the_groups_that_are_asked_for_are_measured(monkeypatch):
    asked = []
    monkeypatch.setattr(campaign, "measure", lambda group, *_: asked.append(group.name) or [])
    settings = ("td3bc", 16), ("iql", 16), ("td3bc", 1)
    groups = [Group("learners", name, {"seeds": n}, lambda stack: []) for name, n in settings]
    monkeypatch.setitem(SUITES, "learners", lambda options: iter(groups))
    list(campaign.run(campaign.asked(("learners",), (), **ALL, only="seeds 16")))
    assert asked == ["td3bc", "iql"]


def groups_of(suite, prepare):
    """A suite of one group, and of another one that does not fit into memory."""

    def too_large(stack):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 99 GiB")

    return lambda options: iter(
        [Group(suite, "large", {}, too_large), Group(suite, "small", {}, prepare)]
    )


def test_a_stopped_benchmark_keeps_the_suites_before(monkeypatch, tmp_path, capsys):
    def stopped(stack):
        raise Interrupted

    monkeypatch.setattr(campaign, "measure", lambda group, *_: [])
    monkeypatch.setitem(SUITES, "data", groups_of("data", lambda stack: []))
    monkeypatch.setitem(SUITES, "scale", groups_of("scale", stopped))
    with pytest.raises(Interrupted):
        campaign.write(campaign.asked(("data", "scale"), (), **ALL), tmp_path / "found.json")
    assert [path.name for path in tmp_path.iterdir()] == ["found-unfinished.json"]
    kept = json.loads((tmp_path / "found-unfinished.json").read_text())
    assert set(kept["seconds"]) == {"data"}
    assert len(kept["notes"]) == 1
    assert "data: dropped large: out of memory: lower its sizes" in kept["notes"][0]
    campaign.write(campaign.asked(("data",), (), **ALL), tmp_path / "found.json")
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]


@pytest.mark.parametrize("scope", [PROCESSOR, ACCELERATOR])
def test_the_whole_run_is_one_of_a_config(scope):
    config = quickstart.get_config()
    config.update_from_flattened_dict(scope.run)
    build(config)


def test_a_wrong_flag_is_one_line():
    command = [sys.executable, "-m", "experiments.benchmark", "--suites=samplin"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: unknown suite 'samplin'")
    assert ended.stderr.count("\n") == 1


@pytest.fixture
def environment(tmp_path):
    """An environment of peers that has this Python and nothing of theirs."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    return tmp_path


def test_an_environment_without_peers_is_found_out(environment):
    with pytest.raises(UserError, match=r"no PyTorch in .*--setup-peers"):
        find(environment)
    with pytest.raises(UserError, match="No module named 'torch'"), ExitStack() as stack:
        stack.enter_context(started(environment, {"kind": "train"}))


@pytest.mark.parametrize("kind", same_function.KINDS)
def test_the_network_in_pytorch_is_the_same_function(kind, tmp_path):
    pytest.importorskip("torch")
    from experiments.benchmark.peers.worker import make

    question = same_function.ask(kind, tmp_path)
    make(**question.job, device="cpu")()
    assert max(question.differences().values()) < same_function.TOLERANCE
