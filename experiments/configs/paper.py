"""The papers' world model: DAWM (2025), where it is silent DWM (2024) and Decision Diffuser (2022).

    python -m experiments.main --config=experiments/configs/paper.py:mujoco/hopper/medium-v0

59.7 million parameters and two million updates of epsilon-prediction: days on a GPU, not for a
CPU. What the papers leave open is ours: the terminal channel, the synthetic ratio, the number of
generated transitions.
"""

from ml_collections import ConfigDict

from experiments.configs import dawm


def get_config(dataset: str = "local/hopper/medium-replay-v0") -> ConfigDict:
    config = dawm.get_config(dataset)
    config.seeds = 5
    config.world_model.update(
        observation_target="absolute",
        observation_normalizer="quantile",
        reward_normalizer="minmax",
        width=128,
        multipliers=(1, 4, 8),
        parameterization="epsilon",
        learning_rate=1e-4,
        final_learning_rate=1e-4,
        batch_size=64,
        steps=2_000_000,
        ema_decay=0.995,
        ema_start=2_000,
    )
    config.inverse_dynamics.update(
        hidden=(1024, 1024), learning_rate=1e-4, final_learning_rate=1e-4, steps=2_000_000
    )
    return config
