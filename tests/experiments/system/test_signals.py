import gc
import os
import signal
import subprocess
import sys

import pytest

from experiments.system.signals import Interrupted, handled, postponed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_block_at_once_unless_it_is_postponed(number):
    def hit():
        with handled():
            os.kill(os.getpid(), number)
            raise AssertionError("not stopped")

    with pytest.raises(Interrupted) as caught:
        hit()
    assert caught.value.status == 128 + number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_postponed_signal_lets_the_block_end(number):
    reached = []

    def hit():
        with handled():
            with postponed() as asked:
                assert not asked()
                os.kill(os.getpid(), number)
                assert asked()
                reached.append("the end")
            reached.append("more")

    with pytest.raises(Interrupted):
        hit()
    assert reached == ["the end"]


def test_a_signal_that_python_drops_is_neither_lost_nor_reported(capsys):
    def once(phase, info):
        gc.callbacks.remove(once)
        os.kill(os.getpid(), signal.SIGINT)

    def hit():
        with handled():
            gc.callbacks.append(once)
            gc.collect()
            with postponed() as asked:
                assert asked()
            raise AssertionError("not stopped")

    with pytest.raises(Interrupted):
        hit()
    assert "Traceback" not in capsys.readouterr().err


def test_an_error_of_a_postponing_block_is_not_hidden():
    def hit():
        with handled(), postponed():
            os.kill(os.getpid(), signal.SIGINT)
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        hit()


def test_afterwards_signals_are_what_they_were():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with handled():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    with handled(), postponed() as asked:
        assert not asked()


BUSY = """
import hashlib
from experiments.system.signals import handled, postponed
with handled(), postponed():
    print("in", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # long; no handler of Python's is run in it
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_stops_at_once_even_in_compiled_code(number):
    command = [sys.executable, "-c", BUSY]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(number)
        assert process.wait(60) == 128 + number
