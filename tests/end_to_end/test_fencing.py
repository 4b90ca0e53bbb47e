"""Two nodes of one data directory, whose lock file somebody deleted: the first one ends."""

import pytest

from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from tests.builders import KEY
from tests.end_to_end.processes import NodeProcess
from tests.patience import PATIENCE_S

pytestmark = [pytest.mark.slow, pytest.mark.net]


@pytest.mark.parametrize("readers", ["0", "1"])
def test_a_node_whose_place_was_taken_ends_with_one_line_and_the_other_goes_on(tmp_path, readers):
    address = script_address(KEY.script, REGTEST.address_prefixes)
    first = NodeProcess(tmp_path, ["--api-processes", readers]).start()
    first.mine(3, address)
    (tmp_path / "regtest" / "ledger.sqlite.lock").unlink()
    second = NodeProcess(tmp_path, ["--api-processes", readers]).start()
    try:
        code = first._wait_for_exit(PATIENCE_S)
        assert code == 1
        said = [
            line for line in first.errors().splitlines() if "another node has taken over" in line
        ]
        assert len(said) == 1, first.errors()
        assert "Traceback" not in first.errors()
        second.mine(2, address)
        assert second.height == 5
        assert (tmp_path / "regtest" / "node.sock").exists()
        assert (tmp_path / "regtest" / ".node-secret").exists()
    finally:
        second.stop()
