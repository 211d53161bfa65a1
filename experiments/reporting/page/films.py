"""Films of synthetic rollouts beside what the simulator makes of the same start and actions."""

from xml.etree.ElementTree import Element

import numpy as np
from matplotlib.figure import Figure

from dawm_jax.errors import UserError
from dawm_jax.types import Dataset
from experiments.reporting import panels
from experiments.reporting.page import plots
from experiments.reporting.page.document import embedded, note, paragraph, picture, tag
from experiments.reporting.page.sample import Sample
from experiments.simulation.films import Camera, encoded
from experiments.simulation.simulator import Simulator, make_simulator, set_to

FOLLOWED = 64  # rollouts at most that the simulator repeats
SIZE = (280, 220)  # width and height of a frame, of which a film has two side by side
RATE = 4.0  # frames a second: slow enough to see each step
REST = 3  # times that the last frame is shown


def films(dataset: Dataset, drawn: Sample, count: int) -> list[Element]:
    """How far rollouts drift from the simulator, and films of some; or why there are none."""
    simulator = make_simulator(dataset)
    title = tag("h3", "Rollouts beside the simulator")
    if simulator is None:
        where = (
            "the data set names no environment"
            if dataset.environment is None
            else (f"{dataset.environment.id} cannot be set to an observation, or is not installed")
        )
        return [title, note(f"Not compared, no films: {where}.")]
    chosen = followed(simulator, drawn)
    if not chosen:
        return [title, note("Not compared, no films: no rollout has two transitions or more.")]
    errors = np.stack([drift(simulator, drawn, number) for number in chosen])
    parts = [
        picture(
            "Drift from the simulator",
            _drift(errors),
            "slow growth: the simulator starts in the rollout's first state, repeats its actions, "
            "and is never reset. Root mean square of the states' features, each in recorded "
            f"standard deviations; median and middle 80 % of {len(chosen)} rollouts.",
            "a jump at some step, or errors of more than one standard deviation.",
        )
    ]
    order = np.argsort(errors[:, -1])
    shown = [
        int(order[i]) for i in np.linspace(0, len(order) - 1, min(count, len(order))).astype(int)
    ]
    return [*parts, *_films(dataset, drawn, [(chosen[i], float(errors[i, -1])) for i in shown])]


def followed(simulator: Simulator, drawn: Sample) -> list[int]:
    """The numbers of some of the longest rollouts from states that determine the simulator's."""
    lengths = drawn.lengths
    longest = int(lengths.max())
    if longest < 2:
        return []
    starts = np.flatnonzero(drawn.step == 0)
    settable = simulator.settable(drawn.transitions.observation[starts])
    found = np.flatnonzero((lengths == longest) & settable)
    return found[np.linspace(0, len(found) - 1, min(FOLLOWED, len(found))).astype(int)].tolist()


def drift(simulator: Simulator, drawn: Sample, number: int) -> np.ndarray:
    """The distance (n,) of a rollout's states from the simulator's, after each of its n steps.

    In standard deviations of the recorded states, as a root mean square over features.
    """
    dataset, steps = simulator.dataset, drawn.rollout(number)
    first = dataset.unshift_observation(steps["observation"][0]).astype(float)
    environment = simulator.environment
    root = np.zeros(environment.model.nq - simulator.positions)
    set_to(environment, first, simulator.positions, simulator.velocities, root)
    actions = dataset.unscale_action(steps["action"])
    states = np.stack([environment.step(action)[0] for action in actions])
    synthetic = dataset.unshift_observation(steps["next_observation"])
    recorded = np.asarray(dataset.episodes.observation)[:, : simulator.features]
    deviation = recorded.std(axis=0, dtype=np.float64)
    moving = deviation > 0
    error = (synthetic - states)[:, : simulator.features][:, moving] / deviation[moving]
    return np.sqrt(np.mean(error**2, axis=1))


def _drift(errors: np.ndarray) -> Figure:
    low, middle, high = np.quantile(errors, [0.1, 0.5, 0.9], axis=0)
    steps = np.arange(1, errors.shape[1] + 1)
    made, ((axes,),) = plots.figure(1, 1, 6.0, 3.4)
    axes.plot(steps, middle, "o-", ms=4, color=panels.BLUE, label="median")
    axes.fill_between(steps, low, high, color=panels.BLUE, alpha=0.15, linewidth=0, label="80 %")
    axes.set_ylim(0.0, None)
    axes.set_xlabel("step of the rollout")
    axes.set_ylabel("error / standard deviation")
    plots.legend(axes)
    return made


def _films(dataset: Dataset, drawn: Sample, chosen: list[tuple[int, float]]) -> list[Element]:
    """A film of each rollout, given with its error after the last step."""
    if not chosen:
        return []
    title = tag("h3", "Films: synthetic on the left, simulator on the right")
    try:
        with Camera(dataset.environment, SIZE) as camera:
            shown = [_film(dataset, drawn, camera, number, error) for number, error in chosen]
    except UserError as error:
        return [title, note(f"No films: {error}.")]
    about = paragraph(
        "The same start and the same actions, in slow motion, from the rollout that stays nearest "
        "to the simulator to the one that drifts most. Look for: the same movement on both sides. "
        "Bad: limbs that jump, bend where they cannot, or sink into the ground."
    )
    return [title, about, tag("div", *shown, class_="films")]


def _film(dataset: Dataset, drawn: Sample, camera: Camera, number: int, error: float) -> Element:
    steps = drawn.rollout(number)
    states = np.concatenate([steps["observation"], steps["next_observation"][-1:]])
    states = dataset.unshift_observation(states)
    left = camera.states(states)
    right = camera.outcomes(states[0], dataset.unscale_action(steps["action"]))
    between = np.full((*left.shape[:2], 4, 3), 255, np.uint8)
    frames = np.concatenate([left, between, right], axis=2)
    frames = np.concatenate([frames, *[frames[-1:]] * (REST - 1)])
    words = f"{len(states) - 1} steps; error at the end {error:.2f} standard deviations"
    image = embedded("image/webp", encoded(frames, RATE), words)
    return tag("figure", image, tag("figcaption", words))
