"""How the networks' operations depend on the backend.

XLA compiles convolutions and norms of short windows poorly for CPUs and well for accelerators. On a
CPU they are written as matrix products, in the form that was measured to be fastest for the shape;
elsewhere they are XLA's own operations. Both compute the same function of the same parameters.
"""

import jax

NARROW = 512  # numbers in the largest window whose convolution or means are one product on a CPU


def on_cpu() -> bool:
    """Whether programs are traced for a CPU: JAX's default device, or the one of a context."""
    device = getattr(jax.config, "jax_default_device")  # noqa: B009 - not in JAX's type stubs
    return getattr(device, "platform", device or jax.default_backend()) == "cpu"
