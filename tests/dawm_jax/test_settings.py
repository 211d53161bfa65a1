from dataclasses import dataclass

import numpy as np
import pytest

from dawm_jax.diffusion.samplers import Sampling
from dawm_jax.errors import UserError
from dawm_jax.models.window_diffusion import WorldModel
from dawm_jax.settings import (
    Between,
    Count,
    Dropout,
    Factor,
    Positive,
    Share,
    Width,
    check_settings,
    check_value,
)

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (Count, [1, 10**9], [0, -1, 10**9 + 1, 10**400, 1.0, True, None, "1", NAN]),
        (Positive, [1, 0.5, 1e9, np.float64(2.0)], [0, 0.0, -1.0, NAN, INF, True, "1", None]),
        (Factor, [1.0, 0.005], [0.0, 1.1, NAN]),
        (Share, [0.0, 1.0], [-0.1, 1.1, NAN]),
        (Dropout, [0.0, 0.9], [1.0, -0.1, NAN]),
        (Between, [0.5], [0.0, 1.0, NAN]),
        (Positive | None, [None, 1.0], [NAN, 0.0, "1"]),
        (tuple[Width, ...], [(), (1, 16_384)], [(0,), (-1, 2), [1], 1, (16_385,), (2.0,)]),
        (str, ["", "a"], [None, 1]),
        (bool, [True, False], [0, 1, "true"]),
    ],
)
def test_values_are_held_to_type_and_range(hint, good, bad):
    for value in good:
        check_value("x", value, hint)
    for value in bad:
        with pytest.raises(UserError, match=r"^x is .*; it must be "):
            check_value("x", value, hint)


@pytest.mark.parametrize(
    ("hint", "value", "message"),
    [
        (Width, 0, "x is 0; it must be a whole number from 1 to 16,384"),
        (Factor, NAN, "x is nan; it must be a number above 0 and at most 1"),
        (Dropout, 1.0, "x is 1.0; it must be a number of at least 0 and below 1"),
        (Positive | None, -1, "x is -1; it must be a number from 1e-09 to 1,000,000,000, "
         "or unset"),
        (tuple[Width, ...], (0,), "x is (0,); it must be a tuple, each entry a whole number from "
         "1 to 16,384"),
        (bool, "a" * 1000, "x is 'aaaaaaaaaaaa...aaaaaaaaaaaaa'; it must be True or False"),
    ],
)  # fmt: skip
def test_a_message_states_the_given_value_and_what_is_expected(hint, value, message):
    with pytest.raises(UserError) as caught:
        check_value("x", value, hint)
    assert str(caught.value) == message


def test_the_field_and_its_class_are_named():
    @dataclass(frozen=True)
    class Wing:
        span: Width = 3

    check_settings(Wing())
    with pytest.raises(UserError, match=r"^Wing.span is 0;"):
        check_settings(Wing(0))
    with pytest.raises(UserError, match=r"^left.span is 0;"):
        check_settings(Wing(0), "left")


@pytest.mark.parametrize("name", ["temperature", "guidance_scale", "sampling_steps"])
@pytest.mark.parametrize("value", [NAN, INF, -1.0])
def test_sampling_takes_no_nonsense(name, value):
    with pytest.raises(UserError, match=f"^Sampling.{name} is "):
        Sampling(**{name: value})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 1}, "horizon is 1"),
        ({"width": 1 << 40}, "width is 1099511627776"),
        ({"width": 8_192, "multipliers": (1, 4)}, "width times its largest multiplier is 32768"),
        ({"multipliers": (0,)}, "multipliers is"),
        ({"multipliers": ()}, "multipliers is empty"),
        ({"batch_size": -3}, "batch_size is -3"),
        ({"learning_rate": NAN}, "learning_rate is nan"),
        ({"ema_decay": 2.0}, "ema_decay is 2.0"),
    ],
)
def test_a_world_model_with_impossible_settings_is_rejected(settings, message):
    with pytest.raises(UserError, match=f"^WorldModel.{message}"):
        WorldModel(**settings)
