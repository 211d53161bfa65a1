import shutil
import subprocess
from pathlib import Path

import pytest

from experiments.system import provenance


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the module in a folder of its own, which `commit` then asks about."""
    path = tmp_path / "outer" / "inner" / "experiments" / "system" / "provenance.py"
    path.parent.mkdir(parents=True)
    shutil.copy(provenance.__file__, path)
    monkeypatch.setattr(provenance, "__file__", str(path))
    provenance.commit.cache_clear()
    yield path.parents[2]
    provenance.commit.cache_clear()


def repository(folder: Path) -> str:
    """Commits everything in `folder`; returns the commit."""
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return head.stdout.strip()


def test_the_commit_is_that_of_the_package_s_own_repository(package):
    assert provenance.commit() is None
    head = repository(package)
    provenance.commit.cache_clear()
    assert provenance.commit() == head
    (package / "experiments" / "system" / "provenance.py").write_text("changed")
    provenance.commit.cache_clear()
    assert provenance.commit() == f"{head}-dirty"


def test_the_commit_of_a_repository_around_the_package_is_not_its_own(package):
    repository(package.parent)
    assert provenance.commit() is None
