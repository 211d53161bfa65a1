from experiments.store.stage import Stage


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
