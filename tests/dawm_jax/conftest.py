from collections.abc import Callable, Iterator
from functools import cache

import jax
import numpy as np
import pytest
from handmade import make_dataset, random_episode

from dawm_jax.data.windows import WindowSet
from dawm_jax.models.inverse_dynamics import InverseDynamics
from dawm_jax.models.window_codec import DIFFUSED
from dawm_jax.models.window_diffusion import ModelState, WorldModel
from dawm_jax.sources import DAWM
from dawm_jax.sources.base import States
from dawm_jax.training.loop import fit
from dawm_jax.types import Dataset

SMALL = {"horizon": 4, "width": 8, "multipliers": (1,), "batch_size": 8, "steps": 100}
WITH_ENDS = {"diffused": (*DIFFUSED, "terminal")}


@pytest.fixture(scope="session")
def small_dataset() -> Dataset:
    """Episodes of noise with 3 observations and 2 actions, some with a terminal end."""
    rng = np.random.default_rng(0)
    ends = [(30, True), (1, True), (25, False), (3, True), (20, False)]
    return make_dataset([random_episode(rng, *end) for end in ends], 0.9, 2.0)


@pytest.fixture(scope="session")
def small_windows(small_dataset: Dataset) -> WindowSet:
    return WindowSet.of(small_dataset, SMALL["horizon"])


@pytest.fixture(scope="session")
def small_model(small_windows: WindowSet) -> Callable[..., tuple[WorldModel, ModelState]]:
    """make(observation_target, **settings) -> a small world model and an untrained state of it.

    The settings must not change the network or the codec: states are shared, as their
    initialization takes long to compile.
    """

    @cache
    def state(observation_target: str) -> ModelState:
        model = WorldModel(observation_target=observation_target, **SMALL, **WITH_ENDS)
        return model.init(jax.random.key(0), small_windows)

    def make(observation_target: str = "increment", **settings) -> tuple[WorldModel, ModelState]:
        settings = SMALL | WITH_ENDS | settings
        model = WorldModel(observation_target=observation_target, **settings)
        return model, state(observation_target)

    return make


@pytest.fixture(scope="session")
def small_source(
    small_dataset: Dataset,
) -> tuple[DAWM, States]:
    """DAWM with small models, and their states, untrained except for that of ends."""
    source = DAWM(WorldModel(**SMALL), InverseDynamics(hidden=(8,)))
    key, models = jax.random.key(1), source.models()
    data = {name: source.data(name, small_dataset) for name in models}
    states = {name: model.init(key, data[name]) for name, model in models.items()}
    tree = fit(source.termination, states["termination"], data["termination"], key)
    return source, states | {"termination": tree}


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """The names of the programs that are compiled from now on, or read from a cache."""
    names: list[str] = []

    def listen(event: str, _: float, fun_name: str = "", **about) -> None:
        if event.endswith("backend_compile_duration"):
            names.append(fun_name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)
