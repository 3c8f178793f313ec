"""What several files of tests use."""

import pytest
from fake_sources import Network


@pytest.fixture
def network(tmp_path, monkeypatch):
    """Every source refuses until it is told otherwise; afterwards what was loaded is no other test's MNIST."""
    (tmp_path / "network").mkdir()
    network = Network(tmp_path / "network", monkeypatch)
    yield network
    network.forget()
