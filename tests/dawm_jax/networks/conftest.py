import pytest

from dawm_jax.networks import backend


@pytest.fixture
def traced_for(monkeypatch):
    """traced_for(cpu): programs traced from now on are for a CPU, or for another backend."""
    return lambda cpu: monkeypatch.setattr(backend, "on_cpu", lambda: cpu)


@pytest.fixture(params=["narrow", "wide", "elsewhere"])
def every_way(request, traced_for, narrow_up_to):
    """Each form of convolutions and norms: on a CPU for narrow and wide windows, and elsewhere."""
    traced_for(request.param != "elsewhere")
    narrow_up_to(1024 if request.param == "narrow" else 0)
