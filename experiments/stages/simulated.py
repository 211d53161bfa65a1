"""A source's transitions with the outcomes that their actions have in the simulator."""

import numpy as np

from dawm_jax.errors import require
from dawm_jax.types import AnyArray, Dataset, Transition
from experiments.run.context import Run
from experiments.simulation.simulator import Simulator, make_simulator
from experiments.stages.source import SourceResult
from experiments.store import files, transitions
from experiments.store.stage import Stage
from experiments.system.machine import pool_memory
from experiments.system.processes import on_first


def whole_simulator(dataset: Dataset) -> Simulator:
    """The simulator of a data set whose observations are nothing but positions and velocities.

    Raises:
        UserError: the data set's environment has no such simulator.
    """
    simulator = make_simulator(dataset)
    size = dataset.episodes.observation.shape[-1]
    require(
        simulator is not None and simulator.features == size,
        f"the environment of '{dataset.id}' cannot be set to its observations: use a MuJoCo "
        "environment of Gymnasium whose observations are positions and velocities, such as "
        "Hopper-v5",
    )
    assert simulator
    return simulator


def simulated(run: Run, source: SourceResult, simulator: Simulator) -> SourceResult:
    """The same states and actions, with the simulator's next states, rewards and ends.

    Rows whose state the simulator cannot be set to, because a velocity is clipped, stay as they
    are. The next action is unknown wherever the outcome is replaced.
    """
    stage = Stage(f"simulated-{source.name}", [], (source.stage,))
    with stage.folder(run.workdir) as folder:

        def write() -> None:
            if not files.sound(folder.transitions, stage.name):
                assert source.synthetic
                every = np.arange(len(source.synthetic.reward))
                rows = transitions.rows_on_host(source.synthetic, every)
                part = with_true_outcomes(simulator, rows)
                transitions.write_part(folder.transitions, part, run.dataset)

        on_first(write)
        memory = on_first(pool_memory, run.config.pool_memory)
        synthetic = transitions.opened(folder.transitions, run.dataset, memory)
    return SourceResult(stage.name, stage, {}, synthetic)


def with_true_outcomes(simulator: Simulator, step: Transition) -> Transition:
    """Transitions on the host with the simulator's next state, reward and end; see `simulated`."""
    known = simulator.settable(step.observation)
    following, reward, ends = simulator.step(step.observation[known], step.action[known])

    def replaced(values: AnyArray, new: np.ndarray) -> np.ndarray:
        values = np.array(values)
        values[known] = new
        return values

    return step.replace(
        reward=replaced(step.reward, reward),
        discount=replaced(step.discount, np.where(ends, 0.0, simulator.dataset.discount)),
        next_observation=replaced(step.next_observation, following),
        next_action=replaced(step.next_action, np.zeros_like(step.next_action[known])),
        next_action_mask=replaced(step.next_action_mask, np.zeros(known.sum(), bool)),
    )
