"""Whether chained rollouts obtain the return-to-go that they are conditioned on."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dawm_jax.data.windows import WindowSet
from dawm_jax.sources import RolloutSource
from dawm_jax.sources.base import States
from dawm_jax.sources.chains import chained_return
from experiments.run.context import Run

QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)  # of the data's return-to-go, as targets


def returns(
    run: Run, source: RolloutSource, states: States, windows: WindowSet
) -> list[dict[str, Any]] | None:
    """Discounted returns of chained episodes beside their targets, in the return scale's units.

    The first entry has the recorded return-to-go of each state as target, the others a quantile of
    all.
    """
    if source.steps < 2:
        return None  # a rollout would not reach beyond its first action
    sizes, dataset = run.components.fidelity, run.dataset
    pick_key, key = jax.random.split(run.key("returns"))
    starts = jax.random.randint(pick_key, (sizes.episodes,), 0, len(windows.starts))
    context = windows.at(starts).context
    acted = np.asarray(dataset.episodes.steps_left) > 0
    to_go = np.asarray(dataset.episodes.return_to_go)[acted] / dataset.return_scale
    rollouts = max(1, sizes.steps // (source.steps - 1))
    entries = []
    for quantile in (None, *QUANTILES):
        if quantile is not None:
            target = jnp.full(sizes.episodes, np.quantile(to_go, quantile), jnp.float32)
            context = context.replace(return_to_go=target)
        scales = (dataset.discount, dataset.return_scale)
        obtained = chained_return(source, states, context, *scales, key, rollouts)
        entries.append(
            {
                "quantile": quantile,
                "target": float(context.return_to_go.mean()),
                "obtained": float(obtained.mean()),
                "standard_error": float(obtained.std() / np.sqrt(sizes.episodes)),
            }
        )
    return entries
