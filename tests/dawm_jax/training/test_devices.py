from pathlib import Path

import jax
import pytest

from dawm_jax.training.devices import device_mesh


def test_one_device_needs_no_mesh():
    assert jax.device_count() > 1 or device_mesh(4) is None


@pytest.mark.parametrize("which", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_eight_devices_match_one_device_and_share_the_work(run_on_eight_devices, which):
    done = run_on_eight_devices(Path(__file__).with_name("eight_devices.py"), "-m", which)
    assert done.returncode == 0, done.stdout
