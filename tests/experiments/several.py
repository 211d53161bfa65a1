"""One of several processes that train the toy stage, for test_processes.py.

python several.py <devices, or host:port/processes/process> <folder> <updates> [<signal>@<update>]
"""

import json
import os
import signal
import sys
from pathlib import Path

import jax
from toy_stage import Walk, returns_of, start

from dawm_jax.errors import UserError
from experiments.stages import train as training
from experiments.system import processes
from experiments.system.signals import Interrupted, handled, postponed

place, folder, updates, hit = [*sys.argv[1:], ""][:4]
number = 0
if "/" in place:
    coordinator, count, number = place.split("/")
    number = int(number)
    assert processes.join(coordinator, int(count), number, find=False)
    assert processes.on_first(lambda: number) == 0
    assert processes.anywhere(number == 1)
    assert not processes.anywhere(number == 2)
    assert processes.after_first(lambda: number) == number
    try:
        processes.on_first(lambda: json.loads("{"))
    except ValueError as error:
        assert isinstance(error, UserError if number else json.JSONDecodeError)  # noqa: PT017
    else:
        raise AssertionError("an error of the first process is lost")
else:
    jax.config.update("jax_num_cpu_devices", int(place))

real, measured = training.train, []


def train(*args, **kwargs):
    """A signal hits the last process on its own; SIGKILL both."""
    for done, state, metrics in real(*args, **kwargs):
        name, _, at = hit.partition("@")
        if str(done) == at and (number == 1 or name == "SIGKILL"):
            os.kill(os.getpid(), getattr(signal, name))
        yield done, state, metrics


def measure(state):
    measured.append(int(state["count"][0]))
    return returns_of(state)


training.train = train
said = {"kept": None, "status": 0, "measured": measured}
with handled():
    try:
        with postponed():
            trained = start(Path(folder), Walk(steps=int(updates)), seeds=4, measure=measure)
        said |= {"x": trained.state["x"].tolist(), "curve": trained.record["curve"]}
    except Interrupted as stop:
        said |= {"kept": stop.saved, "status": stop.status}
print(f"\n{json.dumps(said)}")
