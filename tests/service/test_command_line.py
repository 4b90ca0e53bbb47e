"""What the command line loads, and when; how it ends."""

import os
import subprocess
import sys

from chain.consensus.params import REGTEST
from chain.simulator.choices import SCENARIOS
from chain.simulator.scenarios.catalogue import CATALOGUE
from tests.builders import ChainBuilder

_HEAVY = {"sqlalchemy", "alembic", "fastapi", "httpx", "llvmlite", "chain.simulator.simulate"}


def test_help_and_wrong_settings_wait_for_no_part_of_the_node_to_load():
    code = "import sys, chain.cli.commands; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "typer" in loaded
    assert not _HEAVY & set(loaded)


def test_the_help_names_every_scenario():
    assert tuple(CATALOGUE) == SCENARIOS


def test_a_reader_that_has_enough_ends_a_command_without_a_word(tmp_path):
    [block] = ChainBuilder().grow(1)
    file = tmp_path / "blocks.dat"
    file.write_bytes(REGTEST.magic + len(block.raw).to_bytes(4, "little") + block.raw)
    command = [sys.executable, "-m", "chain", "import", "--verdicts", str(file)]
    command += ["--network", "regtest", "--datadir", str(tmp_path)]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, check=False, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
