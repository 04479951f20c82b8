"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.stores import Endpoints, endpoints

# No test asserts a wall-clock time, Hypothesis' own deadline for an example included.
settings.register_profile("margin", settings(), deadline=None)
settings.load_profile("margin")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is made for the tests of a group, a broker and a cluster, is made once.

    pytest-xdist 3.8 groups by a name that pytest 9.2 no longer reads, and says nothing.
    """
    if config.getoption("loadgroup", default=False):
        for item in items:
            if item.get_closest_marker("xdist_group") and "@" not in item.nodeid:
                raise RuntimeError(f"{item.nodeid}: pytest-xdist keeps no groups with this pytest; see pyproject.toml")


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """S3 and DynamoDB of this session, started on first use."""
    with endpoints(tmp_path_factory.mktemp("stores")) as found:
        yield found


@pytest.fixture
def aws(services: Endpoints, monkeypatch: pytest.MonkeyPatch) -> Endpoints:
    """Both, with this process's environment leading to them."""
    for name, value in services.environment.items():
        monkeypatch.setenv(name, value)
    return services
