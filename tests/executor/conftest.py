"""Steps are run by each account that can be had here."""

from collections.abc import Iterator

import pytest

from tests.executor.steps import Account, account


@pytest.fixture(scope="module", params=["own", "subids", "single"])
def who(request: pytest.FixtureRequest) -> Iterator[Account]:
    """Each account that can be had here."""
    yield account(request.param)
