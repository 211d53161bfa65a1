"""The commands of policies, as a user runs them."""

import json
import subprocess
import sys

import pytest


def run(command, *arguments):
    command = [sys.executable, "-m", f"experiments.{command}", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(
    "command", ["evaluate", pytest.param("export_policy", marks=pytest.mark.slow)]
)
def test_an_error_is_a_message_and_writes_nothing(command, tmp_path):
    ended = run(command, f"--run={tmp_path}/none", f"--out={tmp_path}/out")
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: {tmp_path}/none holds no finished run")
    assert len(ended.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_policy_is_exported_evaluated_and_filmed(finished, tmp_path, monkeypatch):
    _, workdir, results = finished
    chosen = (f"--run={workdir}", "--learner=bc", "--source=dawm")
    out, film = tmp_path / "evaluation.json", tmp_path / "film.webp"
    exported = run("export_policy", *chosen, "--seed=1", f"--out={tmp_path}/policy")
    assert exported.returncode == 0, exported.stderr
    assert f"wrote {tmp_path}/policy/policy.jax" in exported.stdout
    evaluated = run("evaluate", *chosen, "--episodes=2", f"--out={out}", f"--record={film}")
    assert evaluated.returncode == 0, evaluated.stderr
    (found,) = json.loads(out.read_text())["policies"]
    (entry,) = (e for e in results["learners"] if (e["name"], e["source"]) == ("bc", "dawm"))
    wanted = entry["policies"]["averaged"]["seeds"]
    assert [s["returns"] for s in found["seeds"]] == [s["returns"] for s in wanted]
    assert f"its first episode, return {found['seeds'][0]['returns'][0]:.1f}" in evaluated.stdout
    assert film.stat().st_size > 1000
    again = run("evaluate", *chosen, f"--out={out}")
    assert again.returncode == 1
    assert "exists; replace it with --overwrite" in again.stderr
    file = f"--policy={tmp_path}/policy/policy.safetensors"
    alone = run("evaluate", file, "--episodes=2", "--seed=1")
    assert "names a single policy: leave out --seed" in alone.stderr
    assert "| bc | dawm |" in run("evaluate", file, "--episodes=2").stdout
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    blind = run("evaluate", *chosen, f"--out={tmp_path}/2", f"--record={tmp_path}/2.webp")
    assert blind.returncode == 1
    assert "MUJOCO_GL=nonsense does not work" in blind.stderr
    assert not (tmp_path / "2.webp").exists()
