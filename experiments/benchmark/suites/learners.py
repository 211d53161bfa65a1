"""Updates of learners per second, for one seed and for many at once."""

from contextlib import ExitStack
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import to_transitions
from dawm_jax.learners import LEARNERS, DataStatistics
from dawm_jax.training.devices import DATA, SEED, Split, place
from dawm_jax.training.loop import jitted, over_seeds, train_chunk
from experiments.benchmark import flops
from experiments.benchmark.cases import D3RLPY, ONE_BY_ONE, OURS, Case, Group, Groups, carrying
from experiments.benchmark.peers.process import peer
from experiments.benchmark.random_data import ACTION, OBSERVATION, random_dataset
from experiments.benchmark.roof import roofs
from experiments.benchmark.scope import Options
from experiments.benchmark.suites.models import one_at_a_time
from experiments.system.machine import training_mesh

BATCH = 256
NAMES = ("td3bc", "iql")


def groups(options: Options) -> Groups:
    """One for each learner: our seeds, and of one seed the peers'."""
    scope = options.scope
    hidden = "x".join(map(str, scope.hidden))
    settings = {"batch_size": BATCH, "hidden": hidden, "transitions": scope.transitions}
    for name in NAMES:
        yield Group("learners", name, settings, partial(_prepare, name, options))


def _prepare(name: str, options: Options, stack: ExitStack) -> list[Case]:
    scope = options.scope
    updates = scope.updates
    cases = [
        learner_case(
            name, scope.hidden, scope.transitions, seeds, max(scope.least_updates, updates // seeds)
        )
        for seeds in scope.seeds
    ]
    cases.insert(1, _one_by_one(name, options, updates))
    if options.peers and D3RLPY in options.peers.versions:
        job = {
            "kind": name,
            "updates": max(1, updates // 8),
            "batch_size": BATCH,
            "hidden": scope.hidden,
            "transitions": scope.transitions,
            "observation": OBSERVATION,
            "action": ACTION,
        }
        work = {"seed-updates": job["updates"]}
        cost = job["updates"] * flops_an_update(name, scope.hidden)
        case = peer(
            stack, options.peers.folder, D3RLPY, job, work, settings={"seeds": 1}, flops=cost
        )
        cases.insert(1, case)
    return cases + roofs(scope, "float32", copy=True, layer=(BATCH, scope.hidden[0]))


def learner_case(
    name: str, hidden: tuple[int, ...], transitions: int, seeds: int, updates: int
) -> Case:
    """Ours: compiled scans of `updates` updates of each seed, as `dawm_jax.train` makes them."""
    learner = _learner(name, hidden)
    updates -= updates % learner.updates_per_step
    data, state, key = _start(learner, transitions, seeds)
    mesh = training_mesh(None if seeds == 1 else seeds)
    state, key = place((state, key), mesh, Split() if seeds == 1 else Split(SEED))
    data = place(data, mesh)
    copies = mesh.shape[DATA] if mesh else 1  # of the parameters
    chunk = train_chunk(learner, updates, mesh)
    chunk = jitted(chunk if seeds == 1 else over_seeds(chunk, mesh))
    return Case(
        by=OURS,
        work={"seed-updates": seeds * updates},
        call=carrying(lambda state: chunk(state, data, key, jnp.int32(0))[0], state),
        settings={"seeds": seeds},
        flops=seeds * updates * flops_an_update(name, hidden),
        moved=copies * updates * flops.adam_bytes(_parameters_an_update(learner, state)),
    )


def _one_by_one(name: str, options: Options, updates: int) -> Case:
    learner = _learner(name, options.scope.hidden)
    unit = learner.updates_per_step
    started = _start(learner, options.scope.transitions, seeds=1)
    data, state, key = place(started, training_mesh(None))
    made = updates - updates % -unit
    return Case(
        by=ONE_BY_ONE,
        work={"seed-updates": made},
        call=carrying(one_at_a_time(learner, data, key, updates), state),
        settings={"seeds": 1},
        flops=made * flops_an_update(name, options.scope.hidden),
    )


def flops_an_update(name: str, hidden: tuple[int, ...]) -> float:
    """FLOPs of one update of one seed."""
    if name == "iql":
        return BATCH * flops.iql(OBSERVATION, ACTION, hidden)
    delay = LEARNERS[name]().updates_per_step
    return BATCH * flops.td3bc(OBSERVATION, ACTION, hidden, delay)


def _parameters_an_update(learner: Any, state: Any) -> float:
    """How many an update changes; a delayed policy's in their share."""
    every = (state.critic, getattr(state, "value", ()))
    return optax.tree.size(every) + optax.tree.size(state.actor) / learner.updates_per_step


def _learner(name: str, hidden: tuple[int, ...]) -> Any:
    return LEARNERS[name](hidden=hidden, batch_size=BATCH)


def _start(learner: Any, transitions: int, seeds: int) -> tuple[TransitionSet, Any, jax.Array]:
    """Data, a new state and a key; of many seeds, states and keys with a leading axis."""
    dataset = random_dataset(transitions)
    data, statistics = TransitionSet(to_transitions(dataset)), DataStatistics.of(dataset)
    key = jax.random.key(0)
    if seeds == 1:
        return data, jax.jit(learner.init)(key, statistics), key
    keys = jax.random.split(key, seeds)
    return data, jax.jit(jax.vmap(learner.init, in_axes=(0, None)))(keys, statistics), keys
