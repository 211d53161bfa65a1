"""The learners, by the name a config gives them."""

from collections.abc import Callable

from dawm_jax.learners.bc import BC
from dawm_jax.learners.iql import IQL
from dawm_jax.learners.protocol import DataStatistics, Learner
from dawm_jax.learners.rebrac import ReBRAC
from dawm_jax.learners.td3bc import TD3BC

LEARNERS: dict[str, Callable[..., Learner]] = {
    "bc": BC,
    "td3bc": TD3BC,
    "iql": IQL,
    "rebrac": ReBRAC,
}

__all__ = ["BC", "IQL", "LEARNERS", "TD3BC", "DataStatistics", "Learner", "ReBRAC"]
