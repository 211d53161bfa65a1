"""The layer rule: a module imports only from those above it in this list."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [
    "dawm_jax.types",
    "dawm_jax.errors",
    "dawm_jax.settings",
    "dawm_jax.mesh",
    "dawm_jax.starting",
    "dawm_jax.memory",
    "dawm_jax.scores",
    "dawm_jax.leaves",
    "dawm_jax.optimization",
    "dawm_jax.networks.blocks",
    "dawm_jax.networks.convolution",
    "dawm_jax.networks.group_norm",
    "dawm_jax.networks.temporal_unet",
    "dawm_jax.networks.actor_critic",
    "dawm_jax.diffusion.schedule",
    "dawm_jax.diffusion.parameterization",
    "dawm_jax.diffusion.guidance",
    "dawm_jax.diffusion.samplers",
    "dawm_jax.data.references",
    "dawm_jax.data.minari_files",
    "dawm_jax.data.columns",
    "dawm_jax.data.column_cache",
    "dawm_jax.data.npz_columns",
    "dawm_jax.data.minari_source",
    "dawm_jax.data.holdout",
    "dawm_jax.data.normalizer",
    "dawm_jax.data.windows",
    "dawm_jax.data.sampling",
    "dawm_jax.data.streaming",
    "dawm_jax.window_codec",
    "dawm_jax.world_model",
    "dawm_jax.inverse_dynamics",
    "dawm_jax.one_step_model",
    "dawm_jax.synthesis",
    "dawm_jax.fidelity",
    "dawm_jax.failures",
    "dawm_jax.feeding",
    "dawm_jax.training",
    "dawm_jax.learners.protocol",
    "dawm_jax.learners.bc",
    "dawm_jax.learners.td3bc",
    "dawm_jax.learners.iql",
    "dawm_jax.learners",
    "dawm_jax",
    "experiments.processes",
    "experiments.interruption",
    "experiments.files",
    "experiments.disk",
    "experiments.machine",
    "experiments.workers",
    "experiments.behaviors",
    "experiments.recording",
    "experiments.collect",
    "experiments.environments",
    "experiments.simulator",
    "experiments.judgement",
    "experiments.versions",
    "experiments.stages",
    "experiments.checkpoints",
    "experiments.metrics",
    "experiments.components",
    "experiments.profiling",
    "experiments.training",
    "experiments.run",
    "experiments.sizes",
    "experiments.imagination",
    "experiments.models",
    "experiments.pool",
    "experiments.generation",
    "experiments.sources",
    "experiments.learning",
    "experiments.figures",
    "experiments.benchmark.cases",
    "experiments.benchmark.bars",
    "experiments.benchmark.table",
    "experiments.tables",
    "experiments.report",
    "experiments.readme",
    "experiments.pipeline",
    "experiments.configs.dawm",
    "experiments.configs.small",
    "experiments.configs.quickstart",
    "experiments.configs.paper",
    "experiments.config_files",
    "experiments.configs.tiny",
    "experiments.main",
    "experiments.ablation",
    "experiments.comparison",
    "experiments.faults.program",
    "experiments.faults.damage",
    "experiments.faults.trials",
    "experiments.faults.__main__",
    "experiments.benchmark.flops",
    "experiments.benchmark.quiet",
    "experiments.benchmark.measure",
    "experiments.benchmark.scope",
    "experiments.benchmark.roof",
    "experiments.benchmark.sizes",
    "experiments.benchmark.random_data",
    "experiments.benchmark.timed_main",
    "experiments.benchmark.peers.torch_unet",
    "experiments.benchmark.peers.torch_world_model",
    "experiments.benchmark.peers.d3rlpy_learners",
    "experiments.benchmark.peers.worker",
    "experiments.benchmark.peers.environment",
    "experiments.benchmark.peers.process",
    "experiments.benchmark.peers.same_function",
    "experiments.benchmark.suites.models",
    "experiments.benchmark.suites.sampling",
    "experiments.benchmark.suites.learners",
    "experiments.benchmark.suites.data",
    "experiments.benchmark.suites.pipeline",
    "experiments.benchmark.suites.scale",
    "experiments.benchmark.suites",
    "experiments.benchmark.campaign",
    "experiments.benchmark.__main__",
]


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


def test_every_module_with_code_has_a_layer():
    with_code = {
        name for name, path in MODULES.items() if len(ast.parse(path.read_text()).body) > 1
    }
    assert with_code == set(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_a_module_imports_only_from_above(name):
    below = set(LAYERS[LAYERS.index(name) :])
    assert not imported(MODULES[name]) & below


def test_only_the_experiments_and_the_data_loader_know_gymnasium():
    users = {
        name
        for name, path in MODULES.items()
        if name.startswith("dawm_jax") and "gymnasium" in path.read_text()
    }
    assert users <= {"dawm_jax.types", "dawm_jax.data.minari_source"}
