"""Plots of rows: marginals and projections, recorded alone or beside synthetic ones."""

import matplotlib
import numpy as np

from experiments.reporting import panels
from experiments.reporting.page import statistics
from experiments.reporting.page.statistics import Projection

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, TwoSlopeNorm
from matplotlib.figure import Figure

MOST = 40  # panels of one picture
ACROSS = 5  # of them in a row
CELLS = 40  # along each axis of a projection
SHADE = "#b8b8b8"  # fills what is recorded


def figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, np.ndarray]:
    """A figure that pyplot does not keep, and its axes (rows, columns)."""
    made = Figure(figsize=(width, height), layout="constrained")
    return made, made.subplots(rows, columns, squeeze=False)


def marginals(
    names: list[str], recorded: np.ndarray, synthetic: np.ndarray | None = None
) -> Figure:
    """The distribution of each feature (N, features); of many, those that differ most."""
    if synthetic is None:
        order, distances = np.arange(len(names)), np.zeros(len(names))
    else:
        distances = np.array(
            [statistics.distance(recorded[:, d], synthetic[:, d]) for d in range(len(names))]
        )
        order = np.argsort(-distances) if len(names) > MOST else np.arange(len(names))
    order = order[:MOST]
    rows = -(-len(order) // ACROSS)
    made, grid = figure(rows, ACROSS, 10.5, 1.7 * rows + 0.4)
    for axes, d in zip(grid.flat, order, strict=False):
        samples = [recorded[:, d]] if synthetic is None else [recorded[:, d], synthetic[:, d]]
        bounds = statistics.edges(*samples)
        axes.stairs(
            statistics.shares(samples[0], bounds), bounds, fill=True, color=SHADE, label="recorded"
        )
        for one in samples[1:]:
            axes.stairs(
                statistics.shares(one, bounds), bounds, color=panels.BLUE, lw=1.4, label="synthetic"
            )
        differs = "" if synthetic is None else f"  {distances[d]:.2f}"
        axes.set_title(f"{names[d]}{differs}", fontsize="small")
        axes.set_yticks([])
        axes.tick_params(labelsize="x-small")
    for axes in grid.flat[len(order) :]:
        axes.set_axis_off()
    if synthetic is not None:
        handles, labels = grid[0, 0].get_legend_handles_labels()
        made.legend(handles, labels, loc="outside upper right", ncols=2, fontsize="small")
    return made


def grid_of(points: np.ndarray) -> list[np.ndarray]:
    """The edges of a grid over points (N, 2), those far out apart."""
    return [statistics.edges(points[:, axis], bins=CELLS) for axis in range(2)]


def density(points: np.ndarray, grid: list[np.ndarray]) -> np.ndarray:
    """The share of the points (N, 2) in each cell of a grid; those beyond count at its border."""
    return sums(points, grid) / len(points)


def sums(
    points: np.ndarray, grid: list[np.ndarray], weights: np.ndarray | None = None
) -> np.ndarray:
    """The number or the weight of the points (N, 2) in each cell."""
    x, y = (np.clip(points[:, axis], grid[axis][0], grid[axis][-1]) for axis in range(2))
    return np.histogram2d(x, y, bins=(grid[0], grid[1]), weights=weights)[0]


def projected(
    projection: Projection, recorded: np.ndarray, synthetic: np.ndarray, name: str
) -> Figure:
    """The density of recorded and of synthetic rows (N, features), and where they differ."""
    points = [projection(rows) for rows in (recorded, synthetic)]
    grid = grid_of(points[0])
    shares = [density(one, grid) for one in points]
    made, (row,) = figure(1, 3, 10.5, 3.6)
    highest = max(float(one.max()) for one in shares)
    lowest = 1.0 / max(len(one) for one in points)
    for axes, share, title in zip(row, shares, ("recorded", name), strict=False):
        filled = np.ma.masked_equal(share.T, 0.0)
        mesh = axes.pcolormesh(*grid, filled, norm=LogNorm(lowest, highest), cmap="cividis_r")
        axes.set_title(title)
        _axes_names(axes)
    made.colorbar(mesh, ax=row[1], label="share of the rows")
    seen = (shares[0] + shares[1]) > 0
    surplus = (shares[1] - shares[0]) / np.where(seen, shares[0] + shares[1], 1.0)
    shown = np.ma.masked_where(~seen.T, surplus.T)
    mesh = row[2].pcolormesh(*grid, shown, norm=TwoSlopeNorm(0.0, -1.0, 1.0), cmap="PuOr_r")
    row[2].set_title("difference / sum")
    _axes_names(row[2])
    bar = made.colorbar(mesh, ax=row[2], ticks=[-1, 0, 1])
    bar.ax.set_yticklabels(["recorded only", "equal", "synthetic only"], fontsize="small")
    return made


def covered(projection: Projection, rows: np.ndarray, to_go: np.ndarray) -> Figure:
    """The density of recorded rows (N, features), and their mean return-to-go (N,)."""
    points = projection(rows)
    grid = grid_of(points)
    share, counts = density(points, grid), sums(points, grid)
    mean = sums(points, grid, to_go) / np.maximum(counts, 1.0)
    made, (row,) = figure(1, 2, 10.5, 4.0)
    filled = np.ma.masked_equal(share.T, 0.0)
    mesh = row[0].pcolormesh(*grid, filled, norm=LogNorm(), cmap="cividis_r")
    made.colorbar(mesh, ax=row[0], label="share of the rows")
    mesh = row[1].pcolormesh(*grid, np.ma.masked_where(counts.T == 0, mean.T), cmap="viridis")
    made.colorbar(mesh, ax=row[1], label="mean return-to-go")
    for axes in row:
        _axes_names(axes)
    return made


def _axes_names(axes: Axes) -> None:
    axes.set_xlabel("first principal axis")
    axes.set_ylabel("second principal axis")


def legend(axes: Axes) -> None:
    """A small legend where something has a label."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small")


def closed(made: Figure) -> Figure:
    """A figure of pyplot that it keeps no longer."""
    plt.close(made)
    return made
