"""What is done to a run in each trial, and what must be true of it afterwards."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from experiments.faults.comparison import differences, results_of
from experiments.faults.damage import damage_one, empty_steps, newest_files, size_of, small_disk
from experiments.faults.program import Program

KILLS_PER_RUN = 5


@dataclass
class Trial:
    """A run that faults are done to, and what was found wrong with it."""

    kind: str
    workdir: Path
    data: Path  # the root of its data sets
    faults: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def expect(self, holds: bool, otherwise: str, program: Program) -> None:
        if not holds:
            self.wrong.append(f"{otherwise}:\n{program.output[-2000:]}")


class Campaign:
    """Trials against one undisturbed run, all in `folder`; the same seed makes the same choices."""

    def __init__(self, folder: Path, arguments: list[str], seed: int, cache: Path | None = None):
        """`cache` is a folder of compiled programs; without one the run is made twice at first."""
        self.folder, self.arguments = folder, arguments
        self.cache = cache or folder / "xla"
        self.rng = random.Random(seed)
        self.trials: list[Trial] = []
        self.deck: list[str] = []
        if cache is None:
            self._undisturbed(folder / "first", folder / "first-data")
        self.reference, self.data = folder / "reference", folder / "data"
        self.lasts = self._undisturbed(self.reference, self.data)  # seconds of each part of a run
        self.expected = results_of(self.reference)
        self.order = list(self.lasts)[:-1]  # the last prints the results, and is over at once

    def _undisturbed(self, workdir: Path, data: Path) -> dict[str, float]:
        program = self._start(workdir, data)
        if program.wait():
            raise RuntimeError(f"the undisturbed run failed:\n{program.output}")
        begins = program.begins()
        ends = [*list(begins.values())[1:], program.lines[-1][0]]
        return {n: end - begin for (n, begin), end in zip(begins.items(), ends, strict=True)}

    def _start(self, workdir: Path, data: Path) -> Program:
        environment = {
            "MINARI_DATASETS_PATH": str(data),
            "JAX_COMPILATION_CACHE_DIR": str(self.cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
        }
        return Program([*self.arguments, f"--workdir={workdir}"], environment)

    def run(self, kills: int, damages: int, signals: int, disks: int) -> list[Trial]:
        """Makes the trials; a fault whose moment did not come is tried in another run."""
        for _ in range(2 * kills):
            missing = kills - self.count("kill")
            if missing > 0:
                self._trial("kill", partial(self._kill, count=min(missing, KILLS_PER_RUN)))
        for number in range(damages):
            kinds = (self._damage, self._damage, self._damage_all_steps, self._damage_a_part)
            self._trial("damage", kinds[number % 4])
        for number in range(signals):
            asked = (signal.SIGTERM, signal.SIGINT)[number % 2]
            self._trial(asked.name, partial(self._stop, asked=asked))
        for _ in range(disks):
            self._trial("full disk", self._fill)
        return self.trials

    def count(self, kind: str) -> int:
        """How many faults of a kind were done."""
        return sum(len(trial.faults) for trial in self.trials if trial.kind == kind)

    def _trial(self, kind: str, faults: Callable[[Trial], None]) -> None:
        trial = Trial(kind, self.folder / f"run-{len(self.trials)}", self.data)
        started = time.monotonic()
        faults(trial)
        trial.seconds = round(time.monotonic() - started, 1)
        self.trials.append(trial)
        done = ", ".join(" ".join(map(str, fault.values())) for fault in trial.faults)
        print(f"{kind}: {done}; {'; '.join(trial.wrong) or 'as undisturbed'}", flush=True)
        if not trial.wrong:
            shutil.rmtree(trial.workdir)

    def _finish(self, trial: Trial) -> Program:
        """Lets a run end and compares all its results."""
        program = self._start(trial.workdir, trial.data)
        status = program.wait()
        trial.expect(status == 0, f"ended with status {status}", program)
        if status == 0:
            differ = differences(self.expected, results_of(trial.workdir))
            trial.expect(not differ, f"differs in {', '.join(differ)}", program)
        return program

    def _moments(self, trial: Trial, count: int) -> list[tuple[str, float]]:
        """Parts of a run, in order, each as often as the others over time, and a delay in each."""
        names = []
        while len(names) < count:
            self.deck = self.deck or self.rng.sample(self.order, len(self.order))
            names.append(self.deck.pop())
        if "recording" in names:
            trial.data = trial.workdir.with_name(f"{trial.workdir.name}-data")
        names.sort(key=self.order.index)
        return [(name, self.rng.uniform(0.0, self.lasts[name])) for name in names]

    def _at(self, trial: Trial, moment: tuple[str, float]) -> Program | None:
        """A run, started, at a moment of it; None if it has ended without."""
        name, delay = moment
        program = self._start(trial.workdir, trial.data)
        if not program.wait_until(lambda: name in program.begins()):
            status = program.wait()
            trial.expect(status == 0, f"ended with status {status}", program)
            return None
        time.sleep(delay)
        return program if program.process.poll() is None else None

    def _kill(self, trial: Trial, count: int) -> None:
        for moment in self._moments(trial, count):
            program = self._at(trial, moment)
            if program:
                left = program.kill()
                trial.faults.append(program.moment())
                trial.expect(not left, f"killed, but {left} went on", program)
        self._finish(trial)

    def _stop(self, trial: Trial, asked: signal.Signals) -> None:
        program = self._at(trial, self._moments(trial, 1)[0])
        if program:
            os.killpg(program.process.pid, asked)  # as a terminal does, to all processes
            status, moment = program.wait(), program.moment()
            if moment["in"] in self.order:  # else it was at its end already
                trial.faults.append(moment)
                trial.expect(status == 128 + asked, f"stopped with status {status}", program)
                trial.expect("the same command goes on" in program.output, "no word", program)
                trial.expect("Traceback" not in program.output, "a traceback", program)
        self._finish(trial)

    def _damage(self, trial: Trial) -> None:
        shutil.copytree(self.reference, trial.workdir)
        self._damage_one(trial, newest_files(trial.workdir))

    def _damage_one(self, trial: Trial, files: list[Path]) -> None:
        how, path = damage_one(files, self.rng)
        name = path.relative_to(trial.workdir / "stages")
        trial.faults.append({"how": how, "file": str(name)})
        program = self._finish(trial)
        stage = name.parts[0].rpartition("-")[0]
        named = [s for s in program.output.splitlines() if s.startswith(f"{stage}: ") and "'" in s]
        inside = "/".join(name.parts[2:] if "checkpoints" in name.parts else name.parts[-1:])
        what = "'" if path.suffix == ".sha256" else f"'{inside}' is"  # a seal is damaged as what?
        trial.expect(any(what in line for line in named), f"{name} is not named", program)

    def _damage_all_steps(self, trial: Trial) -> None:
        shutil.copytree(self.reference, trial.workdir)
        stage = empty_steps(trial.workdir, self.rng)
        trial.faults.append({"how": "every step", "file": stage.name})
        program = self._finish(trial)
        trial.expect("no step is left in checkpoints" in program.output, "no word", program)

    def _damage_a_part(self, trial: Trial) -> None:
        def parts() -> list[Path]:
            seals = trial.workdir.glob("stages/synthesis-*/parts/*.sha256")
            return sorted(seal.with_suffix("") for seal in seals)

        program = self._start(trial.workdir, trial.data)
        program.wait_until(lambda: len(parts()) > 1)
        program.kill()
        if parts():
            self._damage_one(trial, parts())
        else:
            self._finish(trial)

    def _fill(self, trial: Trial) -> None:
        disk = trial.workdir.with_name(f"{trial.workdir.name}-disk")
        free = int(self.rng.uniform(0.02, 0.9) * size_of(self.reference))
        with small_disk(disk, free) as filler:
            trial.workdir = disk / "run"
            program = self._start(trial.workdir, trial.data)
            if program.wait() != 0:
                trial.faults.append({"free bytes": free, **program.moment()})
                trial.expect(program.process.returncode == 1, "not status 1", program)
                trial.expect("the disk is full" in program.output, "no word", program)
                trial.expect("Traceback" not in program.output, "a traceback", program)
            filler.unlink()
            self._finish(trial)
            if trial.wrong:
                shutil.copytree(trial.workdir, disk.with_name(f"{disk.name}-kept"))
        trial.workdir = disk
