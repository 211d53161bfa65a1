"""Fidelity metrics computed from arrays: explained variance, agreement of flags."""

from typing import Any

import numpy as np
import scipy

from dawm_jax.data.normalizer import ROUNDING, varies
from dawm_jax.types import AnyArray


def explained_variance(
    predicted: AnyArray, true: AnyArray, mask: AnyArray | None = None
) -> dict[str, Any]:
    """Share of variance explained: 1 is perfect, 0 is no better than the mean.

    Args:
        predicted, true: (B, features).
        mask: (B,) bool; the rows to count (default: all).

    Returns:
        `dimensions`, a share per feature, and `pooled`, the share over all features scaled to unit
        variance; None where nothing varies.
    """
    rows = np.ones(len(true), bool) if mask is None else np.asarray(mask)
    if not rows.any():
        return {"pooled": None, "dimensions": [None] * np.shape(true)[-1]}
    truth, guess = (np.asarray(a, np.float64)[rows] for a in (true, predicted))
    known = varies(truth)
    variance = np.where(known, truth.var(axis=0), 1.0)
    share = 1.0 - np.mean((guess - truth) ** 2, axis=0) / variance
    return {
        "pooled": float(share[known].mean()) if known.any() else None,
        "dimensions": [float(s) if k else None for s, k in zip(share, known, strict=True)],
    }


def explained_at_steps(predicted: AnyArray, true: AnyArray, mask: AnyArray) -> dict[str, Any]:
    """`explained_variance` at each step of windows.

    Args:
        predicted, true: (B, T, features).
        mask: (B, T) bool; the rows to count.

    Returns:
        `pooled`, T shares, and `dimensions`, T lists with a share per feature.
    """
    steps = [
        explained_variance(predicted[:, t], true[:, t], mask[:, t]) for t in range(true.shape[1])
    ]
    return {name: [step[name] for step in steps] for name in ("pooled", "dimensions")}


def variance_ratio(synthetic: AnyArray, true: AnyArray, mask: AnyArray) -> dict[str, Any]:
    """Ratio of the variance of synthetic states to that of recorded ones, over all masked steps.

    Args:
        synthetic, true: (B, T, features).
        mask: (B, T) bool.
    """
    rows = np.asarray(mask)
    drawn, truth = (np.asarray(a, np.float64)[rows] for a in (synthetic, true))
    known = varies(truth)
    ratio = drawn.var(axis=0) / np.where(known, truth.var(axis=0), 1.0)
    return {
        "pooled": float(ratio[known].mean()) if known.any() else None,
        "dimensions": [float(r) if k else None for r, k in zip(ratio, known, strict=True)],
    }


def spread_over_error(samples: AnyArray, true: AnyArray, mask: AnyArray) -> dict[str, Any]:
    """Spread of samples over the error of their mean: 1 for samples of the true distribution.

    The square root of (1 + 1/n) times the mean variance of n samples over the mean squared error of
    their mean (Fortin et al. 2014, eq. 15). Below 1, samples are too alike.

    Args:
        samples: (n, B, T, features) n samples for each context.
        true: (B, T, features) what followed.
        mask: (B, T) bool; the rows to count.

    Returns:
        `pooled`, T ratios, the root mean square over features, and `dimensions`, T lists with a
        ratio per feature; None where there is no error.
    """
    count = len(samples)
    pooled: list[float | None] = []
    dimensions: list[list[float | None]] = []
    for t in range(true.shape[1]):
        rows = np.asarray(mask[:, t])
        drawn, truth = (np.asarray(a, np.float64) for a in (samples[:, rows, t], true[rows, t]))
        if not rows.any():
            pooled.append(None)
            dimensions.append([None] * true.shape[-1])
            continue
        error = np.mean((drawn.mean(axis=0) - truth) ** 2, axis=0)
        spread = (1.0 + 1.0 / count) * drawn.var(axis=0, ddof=1).mean(axis=0)
        known = error > (ROUNDING * np.abs(truth).max(axis=0)) ** 2
        square = spread / np.where(known, error, 1.0)
        pooled.append(float(np.sqrt(square[known].mean())) if known.any() else None)
        dimensions.append(
            [float(np.sqrt(s)) if k else None for s, k in zip(square, known, strict=True)]
        )
    return {"pooled": pooled, "dimensions": dimensions}


def nearest_distances(rows: AnyArray, recorded: AnyArray, exclude_itself: bool = False) -> Any:
    """The distance (N,) of each row (N, features) to the nearest recorded one (M, features).

    Features are scaled to unit variance of the recorded ones; constant ones are left out.

    Args:
        exclude_itself: whether the rows are among the recorded ones, so that the second nearest is
            meant.
    """
    points = np.asarray(recorded, np.float64)
    known = varies(points)
    deviation = points[:, known].std(axis=0)
    scaled, queries = (np.asarray(x, np.float64)[:, known] / deviation for x in (points, rows))
    distances, _ = scipy.spatial.cKDTree(scaled).query(queries, k=[2 if exclude_itself else 1])
    return distances[:, 0]


def terminal_agreement(true: AnyArray, predicted: AnyArray) -> dict[str, float | None]:
    """Precision and recall of flags (B,) bool, and their base rate; None where undefined."""
    hits, flagged, present = (int(x.sum()) for x in (true & predicted, predicted, true))
    return {
        "precision": hits / flagged if flagged else None,
        "recall": hits / present if present else None,
        "base_rate": present / len(true) if len(true) else None,
    }
