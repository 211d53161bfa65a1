import json
from dataclasses import dataclass, make_dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from experiments.store.stage import Stage, digest, identity, stages_of


def test_a_fingerprint_depends_on_name_settings_and_all_before():
    data = Stage("data", ["x"])
    model = Stage("model", {"width": 8}, (data,))
    assert model.fingerprint == Stage("model", {"width": 8}, (Stage("data", ["x"]),)).fingerprint
    others = [
        Stage("model", {"width": 9}, (data,)),
        Stage("other", {"width": 8}, (data,)),
        Stage("model", {"width": 8}, (Stage("data", ["y"]),)),
        Stage("model", {"width": 8}),
    ]
    assert len({model.fingerprint, *(stage.fingerprint for stage in others)}) == 5


def component(module="one", name="Model", version=1, fields=("width",)):
    """A dataclass of that name, as if it were defined in that module."""
    namespace = {"__module__": module} | ({} if version is None else {"version": version})
    return make_dataclass(name, [(f, int) for f in fields], namespace=namespace, frozen=True)


def fingerprint(settings):
    return Stage("model", identity(settings)).fingerprint


def test_equal_settings_of_one_class_are_one_stage():
    model = component()
    assert fingerprint(model(8)) == fingerprint(model(8)) == fingerprint(component()(8))


def test_components_with_equal_fields_never_share_a_stage():
    """They differ in name, in module alone, in version alone, or in a value."""
    model = component()
    others = [
        component(name="Other")(8),
        component(module="two")(8),
        component(version=2)(8),
        component(version=None)(8),
        model(9),
    ]
    assert {type(one).__qualname__ for one in others} == {"Model", "Other"}
    assert len({fingerprint(one) for one in (model(8), *others)}) == 6


class Numbers(struct.PyTreeNode):
    values: Any
    unit: str = struct.field(pytree_node=False)


class MoreNumbers(Numbers):
    pass


@dataclass(frozen=True)
class Outer:
    part: object
    size: int = 1


def test_the_class_and_version_of_a_part_count():
    parts = [component()(8), component(version=2)(8), component(module="two")(8), 8]
    assert len({fingerprint(Outer(part)) for part in parts}) == 4
    assert fingerprint(Outer(parts[0], 2)) != fingerprint(Outer(parts[0], 1))


def test_an_identity_is_json():
    model = component()(8)
    expected = {"class": "one.Model", "version": 1, "settings": {"width": 8}}
    assert json.loads(json.dumps(identity(model))) == expected
    assert identity(None) is None
    assert identity(("a", 1)) == ["a", 1]
    assert json.loads(json.dumps(identity((model, 1)))) == [expected, 1]


@pytest.mark.parametrize("as_array", [np.asarray, jnp.asarray])
def test_a_digest_is_of_the_arrays(as_array):
    tree = {"a": as_array(np.arange(6.0, dtype=np.float32)), "b": as_array(np.int32(3))}
    expected = digest({"a": np.arange(6.0, dtype=np.float32), "b": np.int32(3)})
    assert digest(tree) == expected
    others = [
        {**tree, "a": tree["a"].reshape(2, 3)},
        {**tree, "a": tree["a"][::-1]},
        {**tree, "a": tree["a"].astype(np.int32)},
        {**tree, "b": as_array(np.int32(4))},
    ]
    assert len({expected, *map(digest, others)}) == 5


def test_a_digest_is_of_the_structure_and_the_fields_that_are_no_arrays():
    values = np.arange(4.0)
    trees = [
        {"a": values, "b": None},
        {"b": values, "a": None},
        (values, None),
        Numbers(values, "a"),
        Numbers(values, "b"),
        MoreNumbers(values, "a"),
    ]
    assert len(set(map(digest, trees))) == 6
    assert digest(Numbers(values, "a")) == digest(Numbers(values.copy(), "a"))


def test_the_folders_of_stages_give_their_names(tmp_path):
    stages = [Stage("bc-recorded", 1), Stage("world_model", 2), Stage("world_model", 3)]
    for stage in stages:
        with stage.folder(tmp_path) as folder:
            folder.record.write_text("{}")
    found = stages_of(tmp_path)
    assert [one.stage for one in found] == ["bc-recorded", "world_model", "world_model"]
    assert {one.path.name for one in found} == {f"{s.name}-{s.fingerprint}" for s in stages}
    assert [one.results() for one in found] == [[one.record] for one in found]
