import os
import subprocess
import sys
from pathlib import Path

import jax

from dawm_jax.mesh import device_mesh

FAST_TO_COMPILE = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def test_one_device_needs_no_mesh():
    assert jax.device_count() > 1 or device_mesh(4) is None


def test_eight_devices_give_one_devices_results_and_each_does_its_share():
    flags = f"--xla_force_host_platform_device_count=8 {FAST_TO_COMPILE}"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n0",
        str(Path(__file__).with_name("eight_devices.py")),
    ]
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
