"""What a disk refuses, in one clear message, whichever library met it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dawm_jax.errors import UserError

REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file is larger than allowed",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "a file may not be read or written",
}


@contextmanager
def disk_errors_explained(folder: Path) -> Iterator[None]:
    """Turns the errors of a disk that does not take more into a UserError; others pass."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise UserError(
            f"{reason} ({_first_line(error)}). What is finished in {folder} is kept; when that is "
            "put right, the same command goes on."
        ) from error


def _reason(error: BaseException | None) -> str | None:
    """Why, if the disk is the cause: libraries like tensorstore and h5py only tell it in words."""
    while error is not None:
        for code, reason in REASONS.items():
            if getattr(error, "errno", None) == code or os.strerror(code) in str(error):
                return reason
        error = error.__cause__ or error.__context__
    return None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
