"""Updates of learners per second, for one seed and for many seeds at once."""

from contextlib import ExitStack
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import to_transitions
from dawm_jax.learners import LEARNERS, DataStatistics, Learner
from dawm_jax.training.devices import DATA, SEED, Split, place
from dawm_jax.training.loop import compiled_loop, over_seeds, train_chunk
from experiments.benchmark import flops
from experiments.benchmark.cases import (
    D3RLPY,
    DAWM_JAX,
    JIT_PER_UPDATE,
    Case,
    Group,
    Groups,
    timed_steps,
)
from experiments.benchmark.peers.process import peer_case
from experiments.benchmark.random_data import ACTION, OBSERVATION, random_dataset
from experiments.benchmark.roofline import rooflines
from experiments.benchmark.scope import Options, Peers
from experiments.benchmark.suites.models import jit_per_update
from experiments.system.machine import training_mesh

BATCH = 256
NAMES = ("td3bc", "iql", "rebrac")
OF_D3RLPY = ("td3bc", "iql")


def groups(options: Options) -> Groups:
    """One group for each learner: dawm_jax with each number of seeds, the peers with one seed."""
    scope = options.scope
    hidden = "x".join(map(str, scope.hidden))
    settings = {"batch_size": BATCH, "hidden": hidden, "transitions": scope.transitions}
    for name in NAMES:
        yield Group("learners", name, settings, partial(_cases, name, options))


def _cases(name: str, options: Options, stack: ExitStack) -> list[Case]:
    scope = options.scope
    cases = [
        learner_case(
            name,
            scope.hidden,
            scope.transitions,
            seeds,
            updates=max(scope.min_updates, scope.updates // seeds),
        )
        for seeds in scope.seeds
    ]
    if options.alternatives:
        cases.insert(1, _jit_per_update_case(name, options))
    if options.peers and D3RLPY in options.peers.versions and name in OF_D3RLPY:
        cases.insert(1, _d3rlpy_case(name, options, options.peers, stack))
    return cases + rooflines(scope, "float32", copy=True, layer=(BATCH, scope.hidden[0]))


def learner_case(
    name: str, hidden: tuple[int, ...], transitions: int, seeds: int, updates: int
) -> Case:
    """Compiled scans of `updates` updates of each seed, as in `dawm_jax.train`."""
    learner = _learner(name, hidden)
    updates -= updates % learner.updates_per_step
    data, state, key = _initial(learner, transitions, seeds)
    mesh = training_mesh(None if seeds == 1 else seeds)
    state, key = place((state, key), mesh, Split() if seeds == 1 else Split(SEED))
    data = place(data, mesh)
    copies = mesh.shape[DATA] if mesh else 1  # of the parameters
    chunk = train_chunk(learner, updates, mesh)
    loop = compiled_loop(chunk if seeds == 1 else over_seeds(chunk, mesh))
    return Case(
        by=DAWM_JAX,
        work={"seed-updates": seeds * updates},
        call=timed_steps(lambda state: loop(state, data, key, jnp.int32(0))[0], state),
        settings={"seeds": seeds},
        flops=seeds * updates * flops_per_update(name, hidden),
        traffic=copies * updates * flops.adam_traffic(_parameters_per_update(learner, state)),
    )


def _jit_per_update_case(name: str, options: Options) -> Case:
    learner = _learner(name, options.scope.hidden)
    updates = options.scope.updates
    updates += -updates % learner.updates_per_step
    initial = _initial(learner, options.scope.transitions, seeds=1)
    data, state, key = place(initial, training_mesh(None))
    return Case(
        by=JIT_PER_UPDATE,
        work={"seed-updates": updates},
        call=timed_steps(jit_per_update(learner, data, key, updates), state),
        settings={"seeds": 1},
        flops=updates * flops_per_update(name, options.scope.hidden),
    )


def _d3rlpy_case(name: str, options: Options, peers: Peers, stack: ExitStack) -> Case:
    scope = options.scope
    updates = max(1, scope.updates // 8)  # a call takes about as long as one of dawm_jax
    job = {
        "kind": name,
        "updates": updates,
        "batch_size": BATCH,
        "hidden": scope.hidden,
        "transitions": scope.transitions,
        "observation": OBSERVATION,
        "action": ACTION,
    }
    return peer_case(
        stack,
        peers.folder,
        D3RLPY,
        job,
        work={"seed-updates": updates},
        settings={"seeds": 1},
        flops=updates * flops_per_update(name, scope.hidden),
    )


def flops_per_update(name: str, hidden: tuple[int, ...]) -> float:
    """FLOPs of one update of one seed."""
    if name == "iql":
        return BATCH * flops.iql(OBSERVATION, ACTION, hidden)
    delay, critics = LEARNERS[name]().updates_per_step, 2 if name == "rebrac" else 1
    return BATCH * flops.td3(OBSERVATION, ACTION, hidden, delay, critics)


def _parameters_per_update(learner: Learner, state: Any) -> float:
    """The parameters that an update changes, those of a delayed policy by their share."""
    in_each_update = (state.critic, getattr(state, "value", ()))
    return optax.tree.size(in_each_update) + optax.tree.size(state.actor) / learner.updates_per_step


def _learner(name: str, hidden: tuple[int, ...]) -> Learner:
    return LEARNERS[name](hidden=hidden, batch_size=BATCH)


def _initial(
    learner: Learner, transitions: int, seeds: int
) -> tuple[TransitionSet, Any, jax.Array]:
    """Data, an initial state and a key; with a leading seed axis for several seeds."""
    dataset = random_dataset(transitions)
    data, statistics = TransitionSet(to_transitions(dataset)), DataStatistics.of(dataset)
    key = jax.random.key(0)
    if seeds == 1:
        return data, jax.jit(learner.init)(key, statistics), key
    keys = jax.random.split(key, seeds)
    return data, jax.jit(jax.vmap(learner.init, in_axes=(0, None)))(keys, statistics), keys
