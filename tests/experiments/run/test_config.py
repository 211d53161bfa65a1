from dataclasses import fields

import pytest
from ml_collections import ConfigDict

from dawm_jax.errors import UserError
from dawm_jax.learners import LEARNERS
from dawm_jax.sources import SOURCES, Recorded
from experiments.configs import dawm, paper, quickstart, small, tiny
from experiments.run.config import build, chunk_length, names

NAN = float("nan")


@pytest.mark.parametrize("module", [dawm, paper, small, quickstart, tiny])
def test_the_shipped_configs_build(module):
    build(module.get_config())


def test_the_paper_config_is_the_papers():
    source = build(paper.get_config()).sources["dawm"]
    expected = {
        "horizon": 8,
        "diffusion_steps": 5,
        "parameterization": "epsilon",
        "observation_target": "absolute",
        "observation_normalizer": "quantile",
        "reward_normalizer": "minmax",
        "width": 128,
        "multipliers": (1, 4, 8),
        "condition_dropout": 0.25,
        "learning_rate": 1e-4,
        "batch_size": 64,
        "steps": 2_000_000,
        "ema_decay": 0.995,
        "ema_every": 10,
    }
    assert {name: getattr(source.world_model, name) for name in expected} == expected
    assert source.inverse_dynamics.hidden == (1024, 1024)
    assert source.inverse_dynamics.dropout == 0.1
    drawn = source.sampling
    assert (drawn.sampling_steps, drawn.temperature, drawn.guidance_scale) == (3, 0.5, 1.2)
    assert source.target.value == 0.7


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("mujoco/walker2d/medium-v0", 0.7),
        ("local/halfcheetah/medium-v0+mujoco/halfcheetah/medium-v0", 0.5),
        ("local/hopper/medium-v0+local/hopper/medium-expert-v0", None),
        ("local/hopper/medium-v0+local/walker2d/medium-v0", None),
        ("mujoco/walker2d/expert-v0", None),
        ("medium-v0", None),
    ],
)
def test_the_paper_config_has_a_target_return_only_where_the_paper_has(dataset, expected):
    assert build(paper.get_config(dataset)).sources["dawm"].target.value == expected


def test_settings_reach_the_parts():
    config = small.get_config()
    config.learners = ("iql,bc",)
    config.updates = 3_000
    config.iql.expectile = 0.9
    parts = build(config)
    assert list(parts.learners) == ["iql", "bc"]
    assert parts.learners["iql"].expectile == 0.9
    assert parts.learners["iql"].steps == 3_000
    assert chunk_length(config, parts.learners["bc"]) == 1_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learners": ("td3cb",)}, "unknown learner 'td3cb'.*Did you mean 'td3bc'"),
        ({"learners": ()}, "learners is empty"),
        ({"seeds": 0}, "config.seeds is 0"),
        ({"synthetic_ratio": 1.5}, "synthetic_ratio is 1.5"),
        ({"max_distance": 0.0}, "config.max_distance is 0.0"),
        ({"pool_memory": 0.0}, "config.pool_memory is 0.0"),
        ({"pool_memory": NAN}, "config.pool_memory is nan.* or unset"),
        ({"updates": 0}, "config.updates is 0"),
        ({"evaluation_episodes": -1}, "evaluation_episodes is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"held_out": 1.5}, "held_out is 1.5"),
        ({"td3bc.policy_delay": 0}, "policy_delay is 0"),
        ({"iql.expectile": 1.0}, "expectile is 1.0"),
        ({"updates": 1_500}, "config.updates is 1500"),
        ({"evaluate_every": 1_500}, "config.evaluate_every is 1500"),
        ({"log_every": 0}, "log_every is 0"),
        ({"log_every": 625}, "multiple of"),
        ({"dawm.world_model.steps": -5}, "WorldModel.steps is -5"),
        ({"dawm.world_model.horizon": 6}, "horizon is 6"),
        ({"dawm.sampling.sampling_steps": 6}, "sampling_steps is 6"),
        ({"dawm.sampling.sampler": "euler"}, "unknown sampler 'euler'"),
        (
            {"dawm.world_model.observation_normalizer": "std"},
            "unknown observation_normalizer 'std'",
        ),
        ({"synthesis.chunk": 0}, "chunk is 0"),
        ({"dawm.target.quantile": 2.0}, "ReturnTarget.quantile is 2.0"),
        ({"dawm.sampling.temperature": NAN}, "Sampling.temperature is nan"),
        ({"dawm.sampling.guidance_scale": NAN}, "Sampling.guidance_scale is nan"),
        ({"dawm.target.value": NAN}, "ReturnTarget.value is nan.* or unset"),
        ({"iql.learning_rate": NAN}, "IQL.learning_rate is nan"),
        ({"td3bc.hidden": (256, 0)}, "TD3BC.hidden is"),
        ({"dawm.inverse_dynamics.hidden": (-1,)}, "InverseDynamics.hidden is"),
        ({"iql.batch_size": 10**12}, "IQL.batch_size is 1000000000000"),
        ({"dawm.world_model.width": 10**9}, "WorldModel.width is 1000000000"),
        ({"dawm.world_model.horizon": 1}, "WorldModel.horizon is 1"),
        ({"seeds": 10**9}, "config.seeds is 1000000000"),
        ({"seeds": 200, "evaluation_episodes": 200}, "evaluation_episodes is 40000"),
        ({"discount": NAN}, "config.discount is nan"),
        ({"discount": 1.5}, "config.discount is 1.5"),
        ({"return_scale": 0.0}, "config.return_scale is 0.0"),
        ({"return_scale": -1.0}, "config.return_scale is -1.0"),
        ({"return_scale": NAN}, "config.return_scale is nan"),
        ({"dawm.skip_truncated_tail": -1}, "DAWM.skip_truncated_tail is -1"),
        ({"checkpoint_every": -10}, "config.checkpoint_every is -10"),
        ({"held_out": NAN}, "config.held_out is nan"),
    ],
)
def test_an_invalid_setting_is_named(changes, message):
    config = small.get_config()
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=message):
        build(config)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "config.dawm.world_model.widht = 8",
            "setting of config.dawm.world_model 'widht'.* 'width'",
        ),
        ("config.dawm.lr = 8", "unknown setting of config.dawm 'lr'"),
        (
            "config.fidelity.one_step_model.widths = 8",
            "unknown setting of config.fidelity.one_step_model 'widths'",
        ),
        ("config.td3bc.steps = 8", "unknown setting of config.td3bc 'steps'"),
        ("config.sedes = 8", "unknown setting 'sedes'.*Did you mean 'seeds'"),
        ("del config.seeds", "the config has no 'seeds'"),
        ("del config.dawm", "the config has no block 'dawm'"),
        ("config.seeds = 2.0", "config.seeds is 2.0; it must be a whole number"),
        ("config.learners = 'bc'", "config.learners is 'bc'; it must be a tuple"),
        ("config.download = 1", "config.download is 1; it must be True or False"),
        ("config.dawm.world_model = 3", "config.dawm.world_model is 3; it must be a block"),
        ("config.dawm.sampling.sampler = None", "Sampling.sampler is None; it must be text"),
    ],
)
def test_a_config_file_with_other_settings_is_rejected(code, message):
    config = small.get_config().unlock()
    with config.ignore_type():
        exec(code)
    with pytest.raises(UserError, match=message):
        build(config)


BROKEN = {
    "absent": lambda config, name: config.__delattr__(name),
    "no block": lambda config, name: config.__setattr__(name, 3),
    "unknown setting": lambda config, name: config.__setattr__(name, ConfigDict({"x": 1})),
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("sources", name) for name, source in SOURCES.items() if fields(source)),
        *(("learners", name) for name in LEARNERS),
    ],
)
def test_a_block_is_checked_only_if_the_run_names_it(kind, name, how):
    config = small.get_config().unlock()
    config.sources, config.learners = ("recorded",), ("bc",)
    expected = build(config)
    with config.ignore_type():
        BROKEN[how](config, name)
    if name not in config[kind]:
        assert build(config) == expected
    config[kind] = (name,)
    with pytest.raises(UserError, match=f"config.{name}|block '{name}'"):
        build(config)


def test_a_run_of_recorded_data_needs_no_block_of_a_source():
    config = small.get_config().unlock()
    config.sources = ("recorded",)
    for name in (*SOURCES, *LEARNERS):
        if name not in config.learners:
            del config[name]
    parts = build(config)
    assert parts.sources == {"recorded": Recorded()}
    assert list(parts.learners) == list(config.learners)


def test_every_source_and_learner_has_a_block_in_the_shipped_configs():
    config = small.get_config()
    config.sources, config.learners = tuple(SOURCES), tuple(LEARNERS)
    parts = build(config)
    assert list(parts.sources) == list(SOURCES)
    assert list(parts.learners) == list(LEARNERS)


def test_names_may_be_joined_by_commas():
    assert names(("bc, td3bc", "iql")) == ("bc", "td3bc", "iql")


def test_critics_learn_from_recorded_rows_except_in_the_papers_config():
    for module, rows in ((small, "recorded"), (paper, "all")):
        config = module.get_config()
        config.learners = tuple(LEARNERS)
        learners = build(config).learners.values()
        found = [one.critic_rows for one in learners if hasattr(one, "critic_rows")]
        assert found == [rows] * 3


def test_rows_and_policies_are_words():
    config = small.get_config()
    config.learners, config.td3bc.policy_rows = ("td3bc",), "synthetic"
    expected = r"^TD3BC\.policy_rows is 'synthetic'; it must be text that is 'all' or 'recorded'"
    with pytest.raises(UserError, match=expected):
        build(config)
    config.td3bc.policy_rows, config.policy = "all", "best"
    with pytest.raises(UserError, match=r"config\.policy is 'best'; .* 'averaged' or 'last'"):
        build(config)
