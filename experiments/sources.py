"""Where the generated transitions come from. A source does not depend on any learner."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import jax

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import WindowSet, to_transitions
from dawm_jax.errors import UserError
from dawm_jax.fidelity import action_fidelity, compare_windows, window_fidelity
from dawm_jax.types import Rollout, Transition, Window
from experiments.generation import generate
from experiments.run import Run
from experiments.stages import Stage
from experiments.training import Trained


@dataclass(frozen=True)
class Source:
    """What a learner is given besides the recorded transitions."""

    stage: Stage
    synthetic: Transition | None = None
    results: dict[str, Any] = field(default_factory=dict)  # entries of results.json
    windows: tuple[Window, Rollout] | None = None  # held-out ones beside imagined ones


def recorded(run: Run) -> Source:
    """Nothing: the model-free baseline."""
    return Source(run.data_stage)


def imagined(run: Run) -> Source:
    """DAWM's: windows of states and rewards from the world model, actions by inverse dynamics."""
    world_model = _train_world_model(run)
    inverse_dynamics = _train_inverse_dynamics(run)
    measured, windows = _measure(run, world_model, inverse_dynamics)
    stage = Stage(
        "synthesis",
        {k: v for k, v in asdict(run.components.synthesis).items() if k != "chunk"},
        (world_model.stage, inverse_dynamics.stage),
    )
    made, record = generate(run, stage, world_model.state, inverse_dynamics.state)
    results = {
        "world_model": {**_summary(world_model), "held_out": measured["windows"]},
        "inverse_dynamics": {**_summary(inverse_dynamics), "held_out": measured["actions"]},
        "synthesis": record,
    }
    return Source(stage, made, results, windows)


SOURCES: dict[str, Callable[[Run], Source]] = {"real": recorded, "dawm": imagined}


def _train_world_model(run: Run) -> Trained:
    model = run.components.world_model
    windows = WindowSet.of(run.splits[0], model.horizon, run.config.skip_truncated_tail)
    init_key, train_key = jax.random.split(run.key("world_model"))
    config = run.config
    split = [config.held_out, config.skip_truncated_tail]
    stage = run.stage("world_model", model, run.data_stage, extra=split)
    state = model.init(init_key, windows)
    every = run.config.checkpoint_every
    return run.train(stage, model, state, windows, train_key, save_every=every)


def _train_inverse_dynamics(run: Run) -> Trained:
    model = run.components.inverse_dynamics
    transitions = to_transitions(run.splits[0])
    init_key, train_key = jax.random.split(run.key("inverse_dynamics"))
    stage = run.stage("inverse_dynamics", model, run.data_stage, extra=run.config.held_out)
    state = model.init(init_key, transitions)
    every = run.config.checkpoint_every
    return run.train(stage, model, state, TransitionSet(transitions), train_key, save_every=every)


def _measure(
    run: Run, world_model: Trained, inverse_dynamics: Trained
) -> tuple[dict[str, Any], tuple[Window, Rollout] | None]:
    """How good both models are on held-out episodes, and the windows compared."""
    held_out = run.splits[1]
    model = run.components.world_model
    try:
        windows = held_out and WindowSet.of(held_out, model.horizon)
    except UserError:
        windows = None
    if windows is None:
        print("models not measured: no held-out episode holds a window", flush=True)
        return {"windows": None, "actions": None}, None
    window, rollout = compare_windows(
        model, world_model.state, windows, run.key("measure"), run.components.synthesis
    )
    imagination = window_fidelity(window, rollout)
    actions = action_fidelity(
        run.components.inverse_dynamics, inverse_dynamics.state, to_transitions(held_out)
    )
    print("share of held-out variance explained, at each imagined step:")
    for name in ("states", "states_repeated", "changes", "rewards"):
        shares = " ".join("  -  " if s is None else f"{s:5.3f}" for s in imagination[name])
        print(f"  {name.replace('_', ', '):18} {shares}")
    print(f"  actions inferred   {actions['pooled']:5.3f}")
    shares = {k: "-" if v is None else f"{v:.3f}" for k, v in imagination["terminals"].items()}
    print(f"windows that end: {', '.join(f'{k} {v}' for k, v in shares.items())}", flush=True)
    return {"windows": imagination, "actions": actions}, (window, rollout)


def _summary(trained: Trained) -> dict[str, Any]:
    """What results.json says of a trained model."""
    return {
        "commit": trained.record["commit"],
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(trained.state.params)),
        "updates_per_second": trained.record["updates_per_second"],
        **trained.record["metrics"],
    }
