"""DAWM on any Minari data set, with a GPU or patience.

    python -m experiments.main --config=experiments/configs/dawm.py:mujoco/hopper/medium-v0 \
        --workdir=runs/hopper --config.seeds=8

Several data sets are one as "a+b"; local/<robot>/<quality>-v0 is recorded on the spot if missing.

The world model predicts the clean (x0), scaled change from each state to the next, where the paper
predicts the noise of absolute states (see `paper.py`). After 4,000 updates on Hopper the simulator
confirms 98 % of the variance of its changes of state at the window's first step and 93 % at the
last; with v instead of x0 97 % and 92 %, with displacements since the window's first state 98 % and
86 %, with x0 of states 53 % and 47 %, and with noise nothing yet: the paper's has 500 times the
updates. `experiments.ablation` compares the kinds; its table is in docs/findings.md.

Critics learn from the recorded transitions alone, the policy from all: a few percent of error in
the next states harms the critics. DAWM's states and actions help a policy on some data and harm it
on other (docs/findings.md). For a source whose point is its outcomes, set td3bc.critic_rows and the
like to "all", and iql.advantage_rows, too. DAWM's windows start mostly in episodes of high return
(dawm.start_preference).

A source whose transitions are further from the recorded ones than max_distance allows is measured
and stored, but learners do not train on it. DAWM's are on Walker2d and HalfCheetah's medium-replay,
where they mostly harmed.

The full budget has not been run yet: no score is claimed for it (`small.py` has one). On two CPU
cores it would take days; most of it is a million updates of each learner.
"""

from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from dawm_jax.learners import LEARNERS
from dawm_jax.models.dynamics import OneStepModel
from dawm_jax.sources import SOURCES
from dawm_jax.sources.generate import Synthesis
from experiments.run.config import Fidelity


def get_config(dataset: str = "local/hopper/medium-replay-v0") -> ConfigDict:
    config = ConfigDict()
    config.dataset = dataset
    config.download = True  # naming a data set that is not on this machine asks for it
    config.d4rl_mirror = "https://huggingface.co/datasets/imone/D4RL/resolve"  # of d4rl/... ids
    config.d4rl_revision = "9ed58d8a76c12f4c1cb5db51fa71389e703d2ec5"
    config.action_bounds = "clip"  # actions at the space's bounds, or "refuse"; or of the "data"
    config.goals = "desired"  # goals in an observation of goal-conditioned data, or "both"
    config.reward_shift = 0.0  # added to every reward, e.g. -1.0 for AntMaze
    config.episodes = "first"  # to keep if episode_share is below 1; or "random", or "best"
    config.episode_share = 1.0
    config.collect_steps = 200_000  # of a local data set recorded on the spot
    config.discount = 0.99
    config.return_scale = placeholder(float)  # unset: the paper's, or the data's largest
    config.held_out = 0.05  # share of the episodes held out to measure the models

    config.learners = ("bc", "td3bc", "iql")
    config.sources = ("recorded", "dawm")
    config.synthetic_ratio = 0.5  # of a batch, on top of the learner's batch_size recorded rows
    config.max_distance = 1.2  # of synthetic rows to recorded ones, over that among these
    config.policy = "averaged"  # over the updates, or "last": the one that tables report
    config.pool_memory = placeholder(float)  # GiB of synthetic data on the device; unset: half
    config.seed = 0  # the first seed
    config.seeds = 4
    config.updates = 1_000_000  # of each learner

    config.log_every = 1_000  # updates in one compiled scan
    config.checkpoint_every = 10_000  # of the models; learners are saved at each evaluation
    config.evaluate_every = 100_000
    config.evaluation_episodes = 10  # per seed; 0: policies are not evaluated

    config.synthesis = block(Synthesis(transitions=5_000_000))
    config.fidelity = block(Fidelity(one_step_model=OneStepModel(steps=50_000)))
    for name, source in SOURCES.items():
        config[name] = block(source())
    config.dawm.world_model.steps = 100_000
    config.dawm.inverse_dynamics.steps = 50_000
    for name, learner in LEARNERS.items():
        config[name] = block(learner())
        del config[name].steps
        if "critic_rows" in config[name]:  # small errors of outcomes harm TD learning
            config[name].critic_rows = "recorded"
    config.iql.advantage_rows = "recorded"  # its critics have seen no others
    return config


def block(settings: Any) -> ConfigDict:
    """The fields of a settings dataclass; one that is None is unset, with the number's type."""
    hints = get_type_hints(type(settings))
    values = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if value is None:
            value = placeholder(get_args(hints[field.name])[0])
        values[field.name] = block(value) if is_dataclass(value) else value
    return ConfigDict(values)
