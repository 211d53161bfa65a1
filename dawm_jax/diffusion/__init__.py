"""The diffusion process: schedule, parameterization, guidance, sampling."""
