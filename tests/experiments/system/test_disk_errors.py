import asyncio
import errno
import os
import sys

import pytest

from dawm_jax.errors import UserError
from experiments.launch import ignore_late_writes
from experiments.system.disk_errors import disk_errors_explained

TENSORSTORE = ValueError(
    'RESOURCE_EXHAUSTED: Error writing "a/0" in OCDBT database: Failed to write 328941 bytes to '
    "file 7: No space left on device [os_error_code='28']\nmore"
)
H5PY = OSError(
    "Can't write data (file write failed: time = ..., errno = 122, error message = "
    "'Disk quota exceeded', buf = 0x0)"
)


def test_late_writes_print_nothing_and_other_errors_are_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", lambda error: shown.append(error.exc_type))
    ignore_late_writes()
    loop = asyncio.new_event_loop()
    loop.close()

    class Late:
        def __init__(self, call):
            self.call = call

        def __del__(self):  # Python cannot raise what it raises
            self.call()

    for call in (lambda: loop.call_soon_threadsafe(print), lambda: int("seven")):
        late = Late(call)
        del late
    assert shown == [ValueError]


def raised(error, folder):
    with disk_errors_explained(folder):
        raise error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "the disk is full"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "the disk quota is used up"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), "the disk is read-only"),
        (
            PermissionError(errno.EACCES, os.strerror(errno.EACCES)),
            "permission to read or write a file is denied",
        ),
        (OSError(errno.EFBIG, os.strerror(errno.EFBIG)), "a file exceeds the size limit"),
        (TENSORSTORE, "the disk is full"),
        (H5PY, "the disk quota is used up"),
    ],
)
def test_a_disk_error_is_one_clear_line(tmp_path, error, reason):
    with pytest.raises(UserError, match=reason) as caught:
        raised(error, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{reason} (")
    assert f"Finished results in {tmp_path} are kept" in message
    assert message.endswith("run the same command to resume.")
    assert len(message.splitlines()) == 1


def test_a_cause_is_found_behind_another_error(tmp_path):
    outer = RuntimeError("commit failed")
    outer.__cause__ = TENSORSTORE
    with pytest.raises(UserError, match="the disk is full"):
        raised(outer, tmp_path)


@pytest.mark.parametrize("error", [ValueError("shape"), OSError(errno.ENOENT, "no such file")])
def test_other_errors_pass(tmp_path, error):
    with pytest.raises(type(error)) as caught:
        raised(error, tmp_path)
    assert caught.value is error


def test_a_device_that_is_always_full(tmp_path):
    def write():
        with disk_errors_explained(tmp_path), open("/dev/full", "w") as file:
            file.write("x")

    with pytest.raises(UserError, match="the disk is full"):
        write()
