import json

import numpy as np
import pytest
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event

from experiments.store.metrics import StageMetrics
from experiments.store.stage import Stage

ONE, OTHER = Stage("one", [1]), Stage("other", [2])


def write(workdir, stage, done, steps):
    with StageMetrics(workdir, stage, done) as metrics:
        for step in steps:
            metrics.write(step, {"loss": np.array([step, step + 1.0])})


def written(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [(line["stage"], line["step"], line["loss"][0]) for line in lines]


def test_only_the_lines_of_a_stage_after_its_last_checkpoint_are_dropped(tmp_path):
    write(tmp_path, ONE, 0, [2, 4])
    write(tmp_path, OTHER, 0, [2, 4])
    write(tmp_path, ONE, 2, [4, 6])
    assert written(tmp_path) == [
        ("one", 2, 2), ("other", 2, 2), ("other", 4, 4), ("one", 4, 4), ("one", 6, 6)
    ]  # fmt: skip


@pytest.mark.parametrize("cut", [1, 30])
def test_a_line_cut_by_a_kill_is_dropped(tmp_path, cut):
    write(tmp_path, ONE, 0, [2, 4])
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-cut])
    write(tmp_path, OTHER, 0, [2])
    assert written(tmp_path) == [("one", 2, 2), ("other", 2, 2)]


def test_stages_of_two_processes_write_side_by_side(tmp_path):
    with StageMetrics(tmp_path, ONE, 0) as one:
        one.write(2, {"loss": [2.0]})
        write(tmp_path, OTHER, 0, [2, 4])
        write(tmp_path, OTHER, 2, [])  # started again, it rewrites the file
        one.write(4, {"loss": [4.0]})
    assert written(tmp_path) == [("one", 2, 2), ("other", 2, 2), ("one", 4, 4)]


def test_a_full_disk_is_not_lost_in_tensorboard(tmp_path, monkeypatch):
    def full(self, event):
        raise OSError(28, "No space left on device")

    with StageMetrics(tmp_path, ONE, 0) as metrics:
        metrics.write(2, {"loss": 1.0})
        monkeypatch.setattr(EventsWriter, "write_event", full)
        with pytest.raises(OSError, match="No space left"):
            metrics.write(4, {"loss": 1.0})


def test_tensorboard_gets_the_means_and_where_a_run_resumed(tmp_path):
    write(tmp_path, ONE, 6, [8])
    (path,) = (tmp_path / "tensorboard" / f"one-{ONE.fingerprint}").iterdir()
    content, events = path.read_bytes(), []
    while content:  # length (8 bytes), its checksum (4), the event, its checksum (4)
        length = int.from_bytes(content[:8], "little")
        events.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    assert [event.step for event in events] == [0, 7, 8]
    assert events[1].session_log.status == 1  # START: what came after is hidden
    (value,) = events[2].summary.value
    assert (value.tag, value.simple_value) == ("loss", 8.5)
