"""Disk errors as one clear message, whichever library raised them."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dawm_jax.errors import UserError

REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file exceeds the size limit",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission to read or write a file is denied",
}


@contextmanager
def disk_errors_explained(folder: Path) -> Iterator[None]:
    """Turns disk errors into a UserError; other errors pass."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise UserError(
            f"{reason} ({_first_line(error)}). Finished results in {folder} are kept. Fix this, "
            "then run the same command to resume."
        ) from error


def _reason(error: BaseException | None) -> str | None:
    """The reason, if it is the disk; tensorstore and h5py state it only in words."""
    while error is not None:
        for code, reason in REASONS.items():
            if getattr(error, "errno", None) == code or os.strerror(code) in str(error):
                return reason
        error = error.__cause__ or error.__context__
    return None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
