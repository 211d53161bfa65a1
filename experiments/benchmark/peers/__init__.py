"""Other implementations (PyTorch, d3rlpy), in a Python environment without jax and dawm_jax."""
