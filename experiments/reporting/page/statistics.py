"""Statistics of recorded and synthetic rows that no stage of a run measures."""

from dataclasses import dataclass

import numpy as np
import scipy

from dawm_jax.data.normalizer import varies

INNER = (0.001, 0.999)  # quantiles within which histograms are resolved


def edges(*samples: np.ndarray, bins: int = 50, inner: tuple[float, float] = INNER) -> np.ndarray:
    """The edges of equal bins between the quantiles `inner` of all samples together (N,)."""
    low, high = np.quantile(np.concatenate(samples).astype(np.float64), inner)
    least = 1e-6 * max(abs(low), abs(high))  # far above rounding errors
    if high - low <= least:
        low, high = low - max(0.5, least), high + max(0.5, least)
    return np.linspace(low, high, bins + 1)


def shares(values: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """The share of the values (N,) in each bin; those beyond count in the first or last one."""
    inside = np.clip(values, bounds[0], bounds[-1])
    return np.histogram(inside, bounds)[0] / len(values)


def distance(recorded: np.ndarray, synthetic: np.ndarray) -> float:
    """Kolmogorov and Smirnov's: the largest difference of the distribution functions, 0 to 1."""
    first, second = np.sort(recorded), np.sort(synthetic)
    at = np.concatenate([first, second])
    below = (np.searchsorted(x, at, side="right") / len(x) for x in (first, second))
    return float(np.max(np.abs(np.subtract(*below))))


@dataclass(frozen=True)
class Projection:
    """The two principal axes of recorded rows, each feature scaled to unit variance."""

    mean: np.ndarray  # (features,)
    axes: np.ndarray  # (features, 2)
    share: float  # of the variance
    dimension: float  # participation ratio of the variances: 1 if all lie on a line

    @classmethod
    def of(cls, rows: np.ndarray) -> "Projection":
        """That of rows (N, features); constant features are left out."""
        rows = np.asarray(rows, np.float64)
        known = varies(rows)
        scale = np.where(known, rows.std(axis=0), np.inf)
        mean = rows.mean(axis=0)
        values, vectors = np.linalg.eigh(
            np.cov(((rows - mean) / scale).T, ddof=0).reshape(len(scale), len(scale))
        )  # ascending
        values = np.maximum(values, 0.0)
        two = vectors[:, ::-1][:, :2]
        two = two * np.where(two[np.abs(two).argmax(axis=0), range(two.shape[1])] < 0, -1.0, 1.0)
        total = values.sum() or 1.0
        return cls(
            mean=mean,
            axes=two / scale[:, None],
            share=float(values[::-1][:2].sum() / total),
            dimension=float(total**2 / max(np.sum(values**2), np.finfo(float).tiny)),
        )

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """The coordinates (N, 2) of rows (N, features)."""
        return (np.asarray(rows, np.float64) - self.mean) @ self.axes


def uncovered(points: np.ndarray, others: np.ndarray, grid: list[np.ndarray]) -> float:
    """The share of the points (N, 2) in cells of a grid that contain none of the others (M, 2)."""
    cells = [
        tuple(
            np.clip(np.searchsorted(bounds, x[:, axis]), 0, len(bounds))
            for axis, bounds in enumerate(grid)
        )
        for x in (points, others)
    ]
    taken = np.zeros([len(bounds) + 1 for bounds in grid], bool)
    taken[cells[1]] = True
    return float(1.0 - taken[cells[0]].mean()) if len(points) else 0.0


def interval(hits: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95 % interval of rates, `hits` of `counts`; 0 to 1 where nothing is counted."""
    z = scipy.stats.norm.ppf(0.975)
    trials = np.maximum(counts, 1)
    rate = hits / trials
    middle = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * np.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    empty = counts == 0
    low, high = np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)
    return np.where(empty, 0.0, low), np.where(empty, 1.0, high)


def telling_feature(rows: np.ndarray, flags: np.ndarray) -> int | None:
    """The feature of rows (N, features) by which flagged ones (N,) bool differ most.

    None unless some rows are flagged and some are not.
    """
    if not flags.any() or flags.all():
        return None
    return int(np.argmax([distance(rows[flags, d], rows[~flags, d]) for d in range(rows.shape[1])]))
