from pathlib import Path

import jax

from dawm_jax.training.devices import device_mesh


def test_one_device_needs_no_mesh():
    assert jax.device_count() > 1 or device_mesh(4) is None


def test_eight_devices_match_one_device_and_share_the_work(run_on_eight_devices):
    done = run_on_eight_devices(Path(__file__).with_name("eight_devices.py"))
    assert done.returncode == 0, done.stdout
