"""Scores the policies of a finished run again, or an exported one, and films an episode.

    python -m experiments.evaluate --run=runs/hopper --episodes=100
    python -m experiments.evaluate --policy=policy/policy.safetensors --record=film.webp

docs/policies.md has the fields of evaluation.json.
"""

from contextlib import nullcontext
from pathlib import Path

from absl import app, flags

from dawm_jax.errors import require
from experiments.reporting.evaluation import evaluate, table
from experiments.run.evaluation import Evaluation, of_exported, of_finished
from experiments.run.finished import FinishedRun
from experiments.simulation import films
from experiments.store.files import write_json
from experiments.store.new_file import check_new
from experiments.system.disk_errors import disk_errors_explained
from experiments.system.machine import cache_programs, check_devices, check_switches
from experiments.system.messages import ends_with_a_message
from experiments.system.opengl import check_setting

RUN = flags.DEFINE_string("run", None, "Folder of a finished run.")
POLICY = flags.DEFINE_string("policy", None, "Instead: a file of experiments.export_policy.")
LEARNER = flags.DEFINE_string("learner", None, "Of the run, this learner alone.")
SOURCE = flags.DEFINE_string("source", None, "Of the run, this source alone.")
SEED = flags.DEFINE_integer("seed", None, "Of the run, this seed alone.")
EPISODES = flags.DEFINE_integer("episodes", 10, "Of every seed.", 1, 1_000_000)
ENV = flags.DEFINE_string("env", None, "Gymnasium environment; that of the data unless given.")
OUT = flags.DEFINE_string("out", None, "The JSON file; evaluation.json of the run unless given.")
RECORD = flags.DEFINE_string("record", None, "Film of the first episode: *.webp, *.gif or *.mp4.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace files of the same names.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    with ends_with_a_message("stopped: nothing is written"):
        check_switches()
        check_devices()
        cache_programs()
        evaluation, out, film = _checked()
        with films.Camera(evaluation.spec) if film else nullcontext() as camera:
            results = evaluate(evaluation, EPISODES.value)
            print(f"{table(results)}\n", flush=True)
            if out:
                with disk_errors_explained(out.parent):
                    write_json(out, results)
                print(f"wrote {out}", flush=True)
            if camera and film:
                _record(camera, evaluation, film)


def _checked() -> tuple[Evaluation, Path | None, Path | None]:
    """What is evaluated, the JSON file and the film, all checked before any episode."""
    require(
        bool(RUN.value) != bool(POLICY.value),
        "name either a finished run with --run or an exported policy with --policy",
    )
    chosen = [flag.name for flag in (LEARNER, SOURCE, SEED) if flag.value is not None]
    require(
        not (POLICY.value and chosen),
        f"--policy names a single policy: leave out {', '.join(f'--{name}' for name in chosen)}",
    )
    path = Path(RUN.value or POLICY.value or "").expanduser()
    run = FinishedRun.read(path) if RUN.value else None
    out = Path(OUT.value).expanduser() if OUT.value else path / "evaluation.json" if run else None
    film = Path(RECORD.value).expanduser() if RECORD.value else None
    if film:
        films.check_format(film)
        check_setting()
    for new in (out, film):
        if new:
            require(new.parent.is_dir(), f"cannot write {new}: there is no folder {new.parent}")
            check_new(new, OVERWRITE.value)
    if run is None:
        return of_exported(path, ENV.value), out, film
    named = LEARNER.value, SOURCE.value, SEED.value, ENV.value
    return of_finished(run, *named), out, film


def _record(camera: films.Camera, evaluation: Evaluation, film: Path) -> None:
    policies = evaluation.policies[0]
    act, seed = policies.first_episode()
    with disk_errors_explained(film.parent):
        frames, total = camera.episode(act, seed)
        films.write(film, frames, camera.steps_per_second / camera.every)
    who = " on ".join(filter(None, (policies.facts["name"], policies.facts["source"])))
    print(f"wrote {film}: {who}, seed {policies.seeds[0]}, its first episode, return {total:.1f}")


if __name__ == "__main__":
    app.run(main)
