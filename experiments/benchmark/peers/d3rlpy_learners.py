"""d3rlpy's TD3+BC and IQL on random transitions in its replay buffer, without its logging."""

from collections.abc import Callable

import d3rlpy
import numpy as np
import torch

EPISODE_STEPS = 1_000


def learner_updates(
    name: str,
    *,
    updates: int,
    batch_size: int,
    hidden: list[int],
    transitions: int,
    observation: int,
    action: int,
    device: str,
) -> Callable[[], None]:
    """A function that makes `updates` updates of "td3bc" or "iql".

    All settings but the sizes are d3rlpy's defaults. `observation` and `action` are dimensions.
    """
    rng = np.random.default_rng(0)
    steps = np.arange(transitions)
    timeouts = (steps % EPISODE_STEPS == EPISODE_STEPS - 1) | (steps == transitions - 1)
    data = d3rlpy.dataset.MDPDataset(
        observations=rng.standard_normal((transitions, observation), np.float32),
        actions=rng.uniform(-1.0, 1.0, (transitions, action)).astype(np.float32),
        rewards=rng.standard_normal(transitions, np.float32),
        terminals=np.zeros(transitions, np.float32),
        timeouts=timeouts.astype(np.float32),
    )
    configs = {"td3bc": d3rlpy.algos.TD3PlusBCConfig, "iql": d3rlpy.algos.IQLConfig}
    networks = ["actor", "critic", "value"] if name == "iql" else ["actor", "critic"]
    encoder = d3rlpy.models.VectorEncoderFactory(hidden_units=hidden)
    encoders = {f"{network}_encoder_factory": encoder for network in networks}
    config = configs[name](batch_size=batch_size, **encoders)
    algorithm = config.create(device="cuda:0" if device == "cuda" else "cpu:0")
    algorithm.build_with_dataset(data)

    def work() -> None:
        for _ in range(updates):
            algorithm.update(data.sample_transition_batch(batch_size))
        if device == "cuda":
            torch.cuda.synchronize()

    return work
