"""What the command line loads, and when."""

import subprocess
import sys

from chain.simulator.choices import SCENARIOS
from chain.simulator.scenarios.catalogue import CATALOGUE

_HEAVY = {"sqlalchemy", "alembic", "fastapi", "httpx", "llvmlite", "chain.simulator.simulate"}


def test_help_and_wrong_settings_wait_for_no_part_of_the_node_to_load():
    code = "import sys, chain.commands; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "typer" in loaded
    assert not _HEAVY & set(loaded)


def test_the_help_names_every_scenario():
    assert tuple(CATALOGUE) == SCENARIOS
