"""Fixtures of the ledger's tests."""

import pytest

from tests.ledger.chains import memory_ledger


@pytest.fixture
def ledger():
    """An empty ledger in memory."""
    ledger = memory_ledger(threads=2)
    yield ledger
    ledger.close()
