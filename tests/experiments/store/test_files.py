import json
import subprocess
import sys
from pathlib import Path

import pytest

from dawm_jax.errors import UserError
from experiments.store import files


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "results.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(path, float("nan"))
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_failed_write_leaves_no_file(tmp_path):
    path = tmp_path / "array.npz"
    path.write_text("before")

    def write_half():
        with files.atomic(path) as partial:
            partial.write_text("half")
            raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        write_half()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("before", "after"),
    [("", "new\n"), ("one\n", "one\nnew\n"), ("one\nha", "one\nnew\n"), ("ha", "new\n")],
)
def test_a_line_follows_whole_lines(tmp_path, before, after):
    path = tmp_path / "lines"
    path.write_text(before)
    files.append_line(path, "new")
    assert path.read_text() == after


@pytest.fixture
def sealed(tmp_path) -> Path:
    folder = tmp_path / "20"
    (folder / "state").mkdir(parents=True)
    (folder / "state" / "array").write_bytes(b"abcdef")
    (folder / "record").write_text("{}")
    files.seal(folder)
    return folder


def test_a_seal_is_what_sha256sum_checks(sealed):
    assert files.damage(sealed) is None
    check = ["sha256sum", "--check", "--strict", files.seal_of(sealed).name]
    done = subprocess.run(check, cwd=sealed.parent, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["20/record: OK", "20/state/array: OK"]


@pytest.mark.parametrize("content", [b"abcdeg", b"abc", b""])
def test_a_changed_file_is_named(sealed, content):
    (sealed / "state" / "array").write_bytes(content)
    assert files.damage(sealed) == "'20/state/array' differs from its checksum"


def test_a_file_too_few_or_too_many_is_named(sealed):
    (sealed / "extra").write_text("")
    assert files.damage(sealed) == "'20/extra' has no checksum in 20.sha256"
    (sealed / "extra").unlink()
    (sealed / "record").unlink()
    assert files.damage(sealed) == "'20/record' is missing"


def test_every_bit_of_a_seal_counts(sealed):
    seal = files.seal_of(sealed)
    content = seal.read_bytes()
    for place in range(len(content)):
        seal.write_bytes(content[:place])
        if place < len(content) - 1:  # less its last newline it says the same
            assert files.damage(sealed), place
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        seal.write_bytes(flipped)
        assert files.damage(sealed), place


def test_a_missing_sealed_file_is_named(tmp_path):
    path = tmp_path / "curve.json"
    path.write_text("[]")
    files.seal(path)
    path.unlink()
    assert files.damage(path) == "'curve.json' is missing"


def test_the_seal_is_removed_first(sealed, monkeypatch):
    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        files.remove(sealed)
    assert sealed.exists()
    assert not files.seal_of(sealed).exists()


HOLD = """
import sys
from pathlib import Path
from experiments.store.files import locked
with locked(Path(sys.argv[1]), "the stage"):
    print("in", flush=True)
    sys.stdin.readline()
"""


def test_a_lock_keeps_another_process_out_until_it_ends_or_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.2)
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        message = r"another process is working on the stage x \(.*lock\)"
        with pytest.raises(UserError, match=message), files.locked(path, "the stage x"):
            pass
        other.kill()
        other.wait()
        with files.locked(path, "the stage x"):
            pass
