"""Offline reinforcement learning with a diffusion action world model.

Load a data set, train the models of a source such as `DAWM`, `synthesize` transitions, train a
learner on the recorded and the synthetic ones, and act.
"""

from dawm_jax.data.formats.minari import load
from dawm_jax.data.holdout import hold_out
from dawm_jax.data.sampling import TransitionSet
from dawm_jax.data.windows import WindowSet, to_transitions
from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.errors import UserError
from dawm_jax.learners import BC, IQL, LEARNERS, TD3BC, DataStatistics
from dawm_jax.models.inverse_dynamics import InverseDynamics
from dawm_jax.models.termination import TerminationModel
from dawm_jax.models.window_diffusion import WorldModel
from dawm_jax.sources import DAWM, SOURCES, Recorded, ReturnTarget
from dawm_jax.sources.generate import Synthesis, synthesize
from dawm_jax.training.devices import device_mesh
from dawm_jax.training.loop import fit, train
from dawm_jax.types import Context, Dataset, Episodes, Rollout, Transition, Window

__version__ = "0.1.0"

__all__ = [
    "BC",
    "DAWM",
    "IQL",
    "LEARNERS",
    "SOURCES",
    "TD3BC",
    "Context",
    "DataStatistics",
    "Dataset",
    "Episodes",
    "InverseDynamics",
    "Recorded",
    "ReturnTarget",
    "Rollout",
    "Sampling",
    "Synthesis",
    "TerminationModel",
    "Transition",
    "TransitionSet",
    "UserError",
    "Window",
    "WindowSet",
    "WorldModel",
    "device_mesh",
    "fit",
    "hold_out",
    "load",
    "synthesize",
    "to_transitions",
    "train",
]
