"""The debug lines that a test has written."""

import pytest

from chain.service.debug_log import LOGGER_NAMES


def lines(caplog: pytest.LogCaptureFixture, category: str) -> list[str]:
    """The messages of one category, oldest first."""
    name = LOGGER_NAMES[category]
    return [record.getMessage() for record in caplog.records if record.name == name]
