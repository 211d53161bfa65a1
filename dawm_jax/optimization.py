"""The optimizer settings that the world model and the inverse dynamics model share."""

import optax


def adam(
    learning_rate: float, final_learning_rate: float, steps: int
) -> optax.GradientTransformation:
    """Adam with a cosine decay over `steps`; equal learning rates keep it constant."""
    alpha = final_learning_rate / learning_rate
    return optax.adam(optax.cosine_decay_schedule(learning_rate, steps, alpha))
