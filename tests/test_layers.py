"""The layer rule: a room imports only from the rooms before it, and no modules form a cycle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A package's own modules, those in no room, come first in dawm_jax and last in experiments.
ROOMS = [
    "dawm_jax.types",
    "dawm_jax.errors",
    "dawm_jax.settings",
    "dawm_jax.training",
    "dawm_jax.networks",
    "dawm_jax.diffusion",
    "dawm_jax.data",
    "dawm_jax.models",
    "dawm_jax.sources",
    "dawm_jax.learners",
    "dawm_jax.policies",
    "dawm_jax.evaluation",
    "dawm_jax.export",
    "dawm_jax",
    "experiments.system",
    "experiments.store",
    "experiments.simulation",
    "experiments.run",
    "experiments.fidelity",
    "experiments.stages",
    "experiments.configs",
    "experiments.benchmark",
    "experiments.reporting",
    "experiments.faults",
    "experiments",
]
LONGEST = 250  # lines of a module


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path
    for package in ("dawm_jax", "experiments")
    for path in (ROOT / package).rglob("*.py")
}


def imported(path: Path) -> set[str]:
    """Our modules that a file imports, in full."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in whole}
    return names & MODULES.keys()


def room_of(module: str) -> str:
    return max((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), key=len)


def test_every_room_has_modules():
    assert {room_of(module) for module in MODULES} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_the_rooms_before_it(room):
    allowed = ROOMS[: ROOMS.index(room) + 1]
    wrong = {
        f"{module} imports {other}"
        for module, path in MODULES.items()
        if room_of(module) == room
        for other in imported(path)
        if room_of(other) not in allowed
    }
    assert not wrong


def test_no_modules_form_a_cycle():
    TopologicalSorter({name: imported(path) for name, path in MODULES.items()}).prepare()


def test_only_the_experiments_and_the_data_room_know_gymnasium():
    users = {
        name
        for name, path in MODULES.items()
        if name.startswith("dawm_jax") and "gymnasium" in path.read_text()
    }
    assert {room_of(name) for name in users} <= {"dawm_jax.types", "dawm_jax.data"}


def test_no_module_is_too_long():
    lengths = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}
