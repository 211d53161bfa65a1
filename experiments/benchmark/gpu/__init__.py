"""What a borrowed GPU is used for within a few minutes: `--campaign=gpu`."""
