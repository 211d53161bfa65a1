"""An unreadable config gives one message that says where to look."""

import sys

import pytest
from ml_collections import ConfigDict
from ml_collections.config_flags.config_flags import ConfigFileFlagParser

from experiments.run.config_errors import MODULE, check, explain

pytestmark = pytest.mark.filterwarnings("ignore:the load_module")  # in ml_collections
DAWM = "from experiments.configs import dawm\ndef get_config():\n    config = dawm.get_config()\n"


def message_of(path) -> str:
    """What a user reads of the file at `path`; empty where all is well."""
    sys.modules.pop(MODULE, None)  # else the file before lives on in it
    try:
        check(ConfigFileFlagParser("config").parse(str(path)))
    except Exception as error:
        return explain(error)
    return ""


@pytest.mark.parametrize(
    ("code", "line", "message"),
    [
        (DAWM + "    {}['lost']\n", 4, "KeyError: lost"),
        (DAWM + "    config.lost.width = 8\n", 4, "AttributeError: 'lost'"),
        (DAWM + "    config.dawm.world_modle\n", 4, 'Did you mean "world_model" instead of'),
        (DAWM + "    config.seeds = 'many'\n", 4, "TypeError: Could not override field 'seeds'"),
        (DAWM + "    open('/lost/file')\n", 4, "No such file or directory: '/lost/file'"),
        (DAWM + "    helper()\ndef helper():\n    1 / 0\n", 6, "ZeroDivisionError"),
        (DAWM + "    import lost.lost\n", 4, "No module named 'lost'"),
        ("def get_config(:\n", 1, "invalid syntax"),
    ],
)
def test_an_error_in_the_file_is_reported_with_its_line(tmp_path, code, line, message):
    path = tmp_path / "mine.py"
    path.write_text(code)
    told = message_of(path)
    assert told.startswith(f"the config fails at {path}, line {line}: ")
    assert message in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\n", "no function get_config"),
        ("def get_config():\n    pass\n", "returns NoneType, not a ConfigDict"),
        ("def get_config():\n    return {'dataset': 'a-v0'}\n", "returns dict, not a ConfigDict"),
        ("def get_config(one, more):\n    pass\n", "missing 2 required positional arguments"),
        (DAWM + "    del config.dataset\n    return config\n", "has no 'dataset'"),
        (DAWM + "    return config\n", ""),
    ],
)
def test_a_file_without_a_config_is_reported(tmp_path, code, message):
    path = tmp_path / "mine.py"
    path.write_text(code)
    told = message_of(path)
    assert message in told
    assert bool(told) == bool(message)
    assert "\n" not in told


def test_a_missing_file_is_reported(tmp_path):
    told = message_of(tmp_path / "lost.py")
    assert "cannot be read: [Errno 2] No such file or directory" in told
    assert "Is a directory" in message_of(tmp_path)


def test_a_flag_without_a_field_is_reported():
    config = ConfigDict({"seeds": 1}).lock()
    with pytest.raises(KeyError) as caught:
        _ = config["sedes"]
    told = explain(caught.value)
    assert told.startswith("a --config flag names no field of the config: 'sedes'. Did you mean")
