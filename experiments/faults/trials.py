"""The trials of a campaign: a run, the faults injected into it, and the checks afterwards."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from experiments.faults.comparison import differences, results_of
from experiments.faults.damage import (
    SealedFile,
    damage_all_checkpoints,
    damage_one,
    finished_parts,
    newest_files,
    size_of,
    small_disk,
)
from experiments.faults.messages import (
    DISK_FULL,
    NO_CHECKPOINT,
    RESUME,
    names_damage,
    names_damaged_file,
)
from experiments.faults.program import Program

KILLS_PER_RUN = 5


@dataclass
class Trial:
    """A run with faults, and the checks that failed."""

    kind: str
    workdir: Path
    data: Path  # the root of its data sets
    faults: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def check(self, condition: bool, failure: str, program: Program) -> None:
        if not condition:
            self.failures.append(f"{failure}:\n{program.output[-2000:]}")


class Campaign:
    """Trials that are compared with one undisturbed run, all in `folder`.

    Campaigns with the same seed make the same random choices.
    """

    def __init__(self, folder: Path, arguments: list[str], seed: int, cache: Path | None = None):
        """`cache` is a warm compilation cache (default: a first run fills a new one)."""
        self.folder, self.arguments = folder, arguments
        self.cache = cache or folder / "xla"
        self.rng = random.Random(seed)
        self.trials: list[Trial] = []
        self.deck: list[str] = []  # parts of a run, shuffled, from which moments are drawn
        if cache is None:
            self._undisturbed(folder / "first", folder / "first-data")
        self.reference, self.data = folder / "reference", folder / "data"
        self.durations = self._undisturbed(self.reference, self.data)  # seconds of each part
        self.expected = results_of(self.reference)
        self.parts = list(self.durations)[:-1]  # the last one only prints the results

    def _undisturbed(self, workdir: Path, data: Path) -> dict[str, float]:
        program = self._start(workdir, data)
        if program.wait():
            raise RuntimeError(f"the undisturbed run failed:\n{program.output}")
        starts = program.part_starts()
        ends = [*list(starts.values())[1:], program.lines[-1][0]]
        return {n: end - start for (n, start), end in zip(starts.items(), ends, strict=True)}

    def _start(self, workdir: Path, data: Path) -> Program:
        environment = {
            "MINARI_DATASETS_PATH": str(data),
            "JAX_COMPILATION_CACHE_DIR": str(self.cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
        }
        return Program([*self.arguments, f"--workdir={workdir}"], environment)

    def run(self, kills: int, damages: int, signals: int, disks: int) -> list[Trial]:
        """Runs all trials; a kill for which a run ends too early is repeated in another run."""
        for _ in range(2 * kills):
            missing = kills - self.count("kill")
            if missing > 0:
                self._trial("kill", partial(self._kill, count=min(missing, KILLS_PER_RUN)))
        for number in range(damages):
            kinds = (
                self._damage_result,
                self._damage_result,
                self._damage_checkpoints,
                self._damage_part,
            )
            self._trial("damage", kinds[number % 4])
        for number in range(signals):
            sent = (signal.SIGTERM, signal.SIGINT)[number % 2]
            self._trial(sent.name, partial(self._stop, sent=sent))
        for _ in range(disks):
            self._trial("full disk", self._fill_disk)
        return self.trials

    def count(self, kind: str) -> int:
        """The number of injected faults of a kind."""
        return sum(len(trial.faults) for trial in self.trials if trial.kind == kind)

    def _trial(self, kind: str, inject: Callable[[Trial], None]) -> None:
        trial = Trial(kind, self.folder / f"run-{len(self.trials)}", self.data)
        started = time.monotonic()
        inject(trial)
        trial.seconds = round(time.monotonic() - started, 1)
        self.trials.append(trial)
        faults = ", ".join(" ".join(map(str, fault.values())) for fault in trial.faults)
        print(f"{kind}: {faults}; {'; '.join(trial.failures) or 'passed'}", flush=True)
        if not trial.failures:
            shutil.rmtree(trial.workdir)

    def _finish(self, trial: Trial) -> Program:
        """Lets the run finish and compares its results with the expected ones."""
        program = self._start(trial.workdir, trial.data)
        status = program.wait()
        trial.check(status == 0, f"exit status {status}, expected 0", program)
        if status == 0:
            differ = differences(self.expected, results_of(trial.workdir))
            trial.check(not differ, f"results differ: {', '.join(differ)}", program)
        return program

    def _random_moments(self, trial: Trial, count: int) -> list[tuple[str, float]]:
        """Parts of a run, in order, and a delay in each; all parts are drawn equally often."""
        names: list[str] = []
        while len(names) < count:
            self.deck = self.deck or self.rng.sample(self.parts, len(self.parts))
            names.append(self.deck.pop())
        if "recording" in names:
            trial.data = trial.workdir.with_name(f"{trial.workdir.name}-data")
        names.sort(key=self.parts.index)
        return [(name, self.rng.uniform(0.0, self.durations[name])) for name in names]

    def _run_until(self, trial: Trial, moment: tuple[str, float]) -> Program | None:
        """A run that has reached a moment; None if it ended before."""
        name, delay = moment
        program = self._start(trial.workdir, trial.data)
        if not program.wait_until(lambda: name in program.part_starts()):
            status = program.wait()
            trial.check(status == 0, f"exit status {status}, expected 0", program)
            return None
        time.sleep(delay)
        return program if program.process.poll() is None else None

    def _kill(self, trial: Trial, count: int) -> None:
        for moment in self._random_moments(trial, count):
            program = self._run_until(trial, moment)
            if program:
                survivors = program.kill()
                trial.faults.append(program.moment())
                trial.check(not survivors, f"processes outlive the run: {survivors}", program)
        self._finish(trial)

    def _stop(self, trial: Trial, sent: signal.Signals) -> None:
        program = self._run_until(trial, self._random_moments(trial, 1)[0])
        if program:
            os.killpg(program.process.pid, sent)  # to all its processes, as a terminal does
            status, moment = program.wait(), program.moment()
            if moment["in"] in self.parts:  # otherwise the run was already at its end
                trial.faults.append(moment)
                expected = 128 + sent
                trial.check(
                    status == expected, f"exit status {status}, expected {expected}", program
                )
                _check_message(trial, RESUME, program)
        self._finish(trial)

    def _damage_result(self, trial: Trial) -> None:
        shutil.copytree(self.reference, trial.workdir)
        self._damage_one(trial, newest_files(trial.workdir))

    def _damage_one(self, trial: Trial, files: Sequence[SealedFile]) -> None:
        how, file = damage_one(files, self.rng)
        path = file.path.relative_to(file.stage.path.parent)
        trial.faults.append({"how": how, "file": str(path)})
        program = self._finish(trial)
        stage = file.stage.stage
        if file.is_seal:
            named = names_damage(program.output, stage)
        else:
            named = names_damaged_file(program.output, stage, file.name)
        trial.check(named, f"no message names {path}", program)

    def _damage_checkpoints(self, trial: Trial) -> None:
        shutil.copytree(self.reference, trial.workdir)
        stage = damage_all_checkpoints(trial.workdir, self.rng)
        trial.faults.append({"how": "every checkpoint", "file": stage.path.name})
        program = self._finish(trial)
        message = f"{NO_CHECKPOINT} {stage.checkpoints.name}"
        trial.check(message in program.output, f"no message '{message}'", program)

    def _damage_part(self, trial: Trial) -> None:
        program = self._start(trial.workdir, trial.data)
        program.wait_until(lambda: len(finished_parts(trial.workdir)) > 1)
        program.kill()
        parts = finished_parts(trial.workdir)
        if parts:
            self._damage_one(trial, parts)
        else:
            self._finish(trial)

    def _fill_disk(self, trial: Trial) -> None:
        disk = trial.workdir.with_name(f"{trial.workdir.name}-disk")
        free = int(self.rng.uniform(0.02, 0.9) * size_of(self.reference))
        with small_disk(disk, free) as filler:
            trial.workdir = disk / "run"
            program = self._start(trial.workdir, trial.data)
            status = program.wait()
            if status != 0:
                trial.faults.append({"free bytes": free, **program.moment()})
                trial.check(status == 1, f"exit status {status}, expected 1", program)
                _check_message(trial, DISK_FULL, program)
            filler.unlink()
            self._finish(trial)
            if trial.failures:
                shutil.copytree(trial.workdir, disk.with_name(f"{disk.name}-copy"))
        trial.workdir = disk


def _check_message(trial: Trial, message: str, program: Program) -> None:
    """Checks that a run that stopped printed a message and no traceback."""
    trial.check(message in program.output, f"no message '{message}'", program)
    trial.check("Traceback" not in program.output, "a traceback", program)
