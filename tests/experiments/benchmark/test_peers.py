import sys

import pytest

from dawm_jax.errors import UserError
from experiments.benchmark.peers import same_function
from experiments.benchmark.peers.environment import find_peers
from experiments.benchmark.peers.process import running_worker


@pytest.fixture
def environment(tmp_path):
    """An environment with this Python and without the peers."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    return tmp_path


def test_an_environment_without_peers_is_reported(environment):
    with pytest.raises(UserError, match=r"PyTorch is not installed in .*--setup-peers"):
        find_peers(environment)
    with (
        pytest.raises(UserError, match=r"a peer's process failed.*No module named 'torch'"),
        running_worker(environment, {"kind": "train"}),
    ):
        pass


@pytest.mark.parametrize("kind", same_function.KINDS)
def test_the_network_in_pytorch_computes_the_same_function(kind, tmp_path):
    pytest.importorskip("torch")
    from experiments.benchmark.peers.worker import create_work

    comparison = same_function.prepare_comparison(kind, tmp_path)
    create_work(**comparison.job, device="cpu")()
    assert max(comparison.differences().values()) < same_function.TOLERANCE
