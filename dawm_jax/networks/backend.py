"""What the networks compute differently on different backends.

XLA compiles convolutions and norms of short windows poorly for CPUs and well for accelerators. On a
CPU they are written as products of matrices, in ways that depend on shape and were measured there;
elsewhere they are XLA's own operations. Both are the same function of the same parameters.
"""

import jax

NARROW = 512  # numbers of a window, up to which its convolution or means are one product on a CPU


def on_cpu() -> bool:
    """Whether programs are traced for a CPU: JAX's default device, or the one of a context."""
    device = getattr(jax.config, "jax_default_device")  # noqa: B009 - not in JAX's type stubs
    return getattr(device, "platform", device or jax.default_backend()) == "cpu"
