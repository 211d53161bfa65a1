"""What the networks compute differently on different backends.

XLA compiles convolutions and norms of short windows poorly for CPUs and well for accelerators. On a
CPU they are written as products of matrices, in ways that depend on shape and were measured there;
elsewhere they are XLA's own operations. Both are the same function of the same parameters.
"""

import jax

NARROW = 512  # numbers of a window, up to which its convolution or means are one product on a CPU


def on_cpu() -> bool:
    """Whether programs are traced for a CPU."""
    return jax.default_backend() == "cpu"
