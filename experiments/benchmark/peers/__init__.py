"""What a user would otherwise pick, run in an environment of its own, without jax or dawm_jax."""
