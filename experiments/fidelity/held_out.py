"""How good is the imagination? The models against held-out episodes and against the simulator."""

from dataclasses import dataclass, fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dawm_jax.data.windows import WindowSet, to_transitions
from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.errors import UserError
from dawm_jax.evaluation.fidelity import (
    compare_windows,
    explained_variance,
    imagined_return,
    terminal_agreement,
)
from dawm_jax.types import Rollout, Window
from experiments.fidelity import judge
from experiments.fidelity.judge import Imagined, Infer
from experiments.run.context import Run
from experiments.simulation.simulator import make_simulator

QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)  # of the data's return-to-go, to ask for
SAMPLING = tuple(field.name for field in fields(Sampling))  # the settings that matter here


@dataclass(frozen=True)
class States:
    """The trained states of the three models that are compared."""

    world_model: Any
    inverse_dynamics: Any
    one_step_model: Any


def compare(
    run: Run, states: States, windows: WindowSet, chunk: int | None = None, count: int | None = None
) -> tuple[Window, Rollout]:
    """Held-out windows beside imagined ones, `chunk` of them made at once, or all.

    There are `count` of them, or as many as the config asks for.
    """
    return compare_windows(
        run.components.world_model,
        states.world_model,
        windows,
        run.key("measure"),
        run.components.synthesis,
        count or run.components.measurement.windows,
        chunk,
    )


def measure(
    run: Run, states: States, windows: WindowSet, window: Window, rollout: Rollout
) -> dict[str, Any]:
    """Figures on held-out `windows`, beside those of two yardsticks (see docs/results.md).

    `window` and `rollout` are those of `compare`.

    The yardsticks: `repeated`, the first state stays; `one_step`, a Gaussian one-step model rolled
    out under the recorded actions.
    """
    predict = jax.jit(run.components.inverse_dynamics.predict)

    def infer(observation: np.ndarray, following: np.ndarray) -> np.ndarray:
        return np.asarray(predict(states.inverse_dynamics, observation, following))

    imagined = _imagined(run, states, window, rollout, infer)
    count = run.components.measurement.judged
    judged = {name: one.first(count) for name, one in imagined.items()}
    flags = rollout.terminal[:, 1:]
    simulator = make_simulator(run.dataset)
    held_out = to_transitions(run.splits[1])
    inferred = infer(held_out.observation, held_out.next_observation)
    told = simulator and (
        simulator.settable(held_out.observation) & simulator.settable(held_out.next_observation)
    )
    return {
        "windows": len(window.reward),
        **judge.against_the_data(window, imagined),
        "simulator": simulator and judge.against_the_simulator(simulator, judged),
        "actions": {
            "recorded": explained_variance(inferred, held_out.action),
            "unclipped": simulator and explained_variance(inferred, held_out.action, told),
            "generated": simulator and judge.actions_kept(simulator, judged["world_model"], infer),
        },
        "terminals": {
            "windows": terminal_agreement(window.terminal[:, -1], flags.any(axis=1)),
            "rule": simulator
            and judge.terminals_by_rule(simulator, judged["world_model"], flags[:count]),
        },
        "returns": _returns(run, states, windows),
    }


def held_out_windows(run: Run) -> WindowSet | None:
    """The windows of the held-out episodes, or None where there are none."""
    held_out = run.splits[1]
    try:
        return held_out and WindowSet.of(held_out, run.components.world_model.horizon)
    except UserError:
        return None


def _imagined(
    run: Run, states: States, window: Window, rollout: Rollout, infer: Infer
) -> dict[str, Imagined]:
    """The windows as recorded, and as each model continues their first state."""
    exists = window.observation_mask[:, 1:]
    recorded = window.observation
    repeated = np.broadcast_to(recorded[:, :1], recorded.shape)
    followed, gained = jax.jit(run.components.one_step_model.roll_out)(
        states.one_step_model, recorded[:, 0], window.action[:, :-1]
    )
    ended = np.cumsum(rollout.terminal[:, :-1], axis=1) > 0

    def inferred(observation: np.ndarray) -> np.ndarray:
        action = np.array(infer(observation[:, :-1], observation[:, 1:]))
        action[:, 0] = window.context.action
        return action

    return {
        "recorded": Imagined(recorded, inferred(recorded), window.reward[:, :-1], exists),
        "world_model": Imagined(
            rollout.observation, inferred(rollout.observation), rollout.reward[:, :-1], ~ended
        ),
        "one_step": Imagined(
            np.asarray(followed), window.action[:, :-1], np.asarray(gained), exists
        ),
        "repeated": Imagined(repeated, inferred(repeated), None, exists),
    }


def _returns(run: Run, states: States, windows: WindowSet) -> list[dict[str, Any]] | None:
    """Discounted returns of imagined episodes beside those asked for, in the return scale's units.

    The first entry asks for what was recorded from each state, the others for a quantile of all.
    """
    model, sizes = run.components.world_model, run.components.measurement
    if model.horizon < 3:
        return None  # a window would not reach beyond its first action
    dataset = run.dataset
    pick_key, key = jax.random.split(run.key("returns"))
    starts = jax.random.randint(pick_key, (sizes.episodes,), 0, len(windows.starts))
    context = windows.at(starts).context
    acted = np.asarray(dataset.episodes.steps_left) > 0
    to_go = np.asarray(dataset.episodes.return_to_go)[acted] / dataset.return_scale
    entries = []
    for quantile in (None, *QUANTILES):
        if quantile is not None:
            asked = jnp.full(sizes.episodes, np.quantile(to_go, quantile), jnp.float32)
            context = context.replace(return_to_go=asked)
        obtained = imagined_return(
            model,
            states.world_model,
            run.components.inverse_dynamics,
            states.inverse_dynamics,
            context,
            dataset.discount,
            dataset.return_scale,
            key,
            run.components.synthesis,
            max(1, sizes.steps // (model.horizon - 2)),
        )
        entries.append(
            {
                "quantile": quantile,
                "asked": float(context.return_to_go.mean()),
                "obtained": float(obtained.mean()),
                "standard_error": float(obtained.std() / np.sqrt(sizes.episodes)),
            }
        )
    return entries


def describe(report: dict[str, Any]) -> str:
    """The figures as a few lines for the terminal."""

    def row(name: str, shares: list[float | None]) -> str:
        shown = " ".join("  -  " if share is None else f"{share:5.3f}" for share in shares)
        return f"  {name:30} {shown}"

    lines = ["share of held-out variance explained, at each step of the window:"]
    for kind, models in report["states"].items():
        lines.append(row(f"states, {kind}", models["pooled"]))
    lines += [row(f"rewards, {kind}", shares) for kind, shares in report["rewards"].items()]
    if report["simulator"]:
        lines.append("share of what the actions do in the simulator:")
        for kind, models in report["simulator"]["changes"].items():
            lines.append(row(f"changes of state, {kind}", models["pooled"]))
        for kind, shares in report["simulator"]["rewards"].items():
            lines.append(row(f"rewards, {kind}", shares))
    for kind, shares in report["actions"].items():
        if shares:
            lines.append(row(f"actions, {kind}", [shares["pooled"]]))
    lines.append(
        row("variance, generated / recorded", [report["variance_ratio"]["world_model"]["pooled"]])
    )
    for kind, counts in report["terminals"].items():
        if counts:
            shown = ", ".join(f"{k} {'-' if v is None else f'{v:.3f}'}" for k, v in counts.items())
            lines.append(f"  terminals, {kind}: {shown}")
    if report["returns"]:
        pairs = (f"{e['asked']:.2f} -> {e['obtained']:.2f}" for e in report["returns"])
        lines.append(f"  returns asked for -> obtained: {', '.join(pairs)}")
    return "\n".join(lines)
