"""Exported policies, read back from either form."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
from jax import export

from dawm_jax.errors import UserError, require
from dawm_jax.export.policies import FORMAT, INSTALL, act

SUFFIXES = (".safetensors", ".jax")


@dataclass(frozen=True)
class ExportedPolicy:
    """A policy from observations (N, observation_dim) to actions (N, action_dim), in units."""

    name: str  # of the file
    act: Callable[[np.ndarray], np.ndarray]
    observation_dim: int
    action_dim: int
    facts: dict[str, str] = field(default_factory=dict)  # the header; none of a jax.export file


def read_policy(path: Path) -> ExportedPolicy:
    """The policy in a file that `experiments.export_policy` has written.

    Raises:
        UserError: it is missing or damaged, another kind of file, or a package that reads it is
            missing.
    """
    require(
        path.suffix in SUFFIXES,
        f"{path} is no exported policy: name a file {' or '.join(f'*{s}' for s in SUFFIXES)}",
    )
    require(path.is_file(), f"there is no file {path}: write it with experiments.export_policy")
    read = _read_arrays if path.suffix == ".safetensors" else _read_program
    try:
        policy = read(path)
        one = policy.act(np.zeros((1, policy.observation_dim)))
        assert one.shape == (1, policy.action_dim)
        return policy
    except UserError:
        raise
    except ImportError as error:
        raise UserError(f"{error.name} is not installed: {INSTALL}") from None
    except Exception as error:  # of whatever a damaged file holds
        what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise UserError(
            f"{path} is damaged, no exported policy, or of a newer JAX than this ({what}): export "
            "it again"
        ) from error


def _read_arrays(path: Path) -> ExportedPolicy:
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        facts = file.metadata() or {}
        found = facts.get("format")
        require(found == FORMAT, f"{path} is no '{FORMAT}': its header says {found!r}")
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return ExportedPolicy(
        path.name,
        lambda observation: act(arrays, observation),
        len(arrays["observation_mean"]),
        len(arrays["action_low"]),
        facts,
    )


def _read_program(path: Path) -> ExportedPolicy:
    program = export.deserialize(bytearray(path.read_bytes()))
    (observation,), (action,) = program.in_avals, program.out_avals
    call = jax.jit(program.call)
    return ExportedPolicy(
        path.name,
        lambda seen: np.asarray(call(np.asarray(seen, np.float32))),
        observation.shape[-1],
        action.shape[-1],
    )
