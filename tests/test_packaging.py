import configparser
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_gpu_requirements_are_the_packages_and_cuda():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    needed = set(setup["options"]["install_requires"].split())
    cuda = setup["options.extras_require"]["cuda12"].strip()
    plain = next(name for name in needed if name.startswith("jax>="))
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    listed = {line for line in lines if not line.startswith("#")}
    assert listed == needed - {plain} | {cuda}
