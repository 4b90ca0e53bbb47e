"""JSON-RPC: setmocktime and its effects."""

import pytest

from chain.consensus.params import DEVNET
from chain.service.clock import SET_MAX, TIME_MAX, Clock
from tests.api.harness import NOW, RecordingHost, payment

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
AHEAD_S = 7200


class ClockHost(RecordingHost):
    """A process with a clock."""

    def __init__(self):
        super().__init__()
        self.clock = Clock()

    def set_clock(self, unix_s):
        self.clock.set(unix_s)


@pytest.fixture
def on_clock(on_node):
    """Run a scenario on a node with its own clock."""

    def run(scenario, **how):
        host = ClockHost()
        on_node(scenario, clock=host.clock.unix_s, host=host, **how)

    return run


def test_templates_and_generated_blocks_are_of_the_time_that_was_set(on_clock):
    async def scenario(node):
        assert await node.rpc("setmocktime", NOW) is None
        asked = {"rules": ["segwit"]}
        assert (await node.rpc("getblocktemplate", asked))["curtime"] == NOW
        await node.rpc("setmocktime", 0)
        assert (await node.rpc("getblocktemplate", asked))["curtime"] != NOW
        await node.rpc("setmocktime", NOW)
        [block_id] = await node.rpc("generatetoaddress", 1, ADDRESS)
        assert (await node.rpc("getblockheader", block_id))["time"] == NOW

    on_clock(scenario)


def test_headers_are_too_new_by_the_time_that_was_set(on_clock):
    async def scenario(node):
        await node.rpc("setmocktime", NOW)
        block = (await node.rpc("generateblock", ADDRESS, [], False))["hex"]
        await node.rpc("setmocktime", NOW - AHEAD_S - 1)
        assert await node.rpc("submitblock", block) == "time-too-new"
        await node.rpc("setmocktime", NOW - AHEAD_S)
        assert await node.rpc("submitblock", block) is None

    on_clock(scenario)


def test_what_waits_grows_old_by_the_time_that_was_set(on_clock):
    async def scenario(node):
        await node.grow(101)
        await node.rpc("setmocktime", NOW)
        sent = await node.rpc("sendrawtransaction", payment(node).raw.hex())
        assert (await node.rpc("getmempoolentry", sent))["time"] == NOW
        await node.rpc("setmocktime", NOW + node.context.node.policy.expiry_s)
        await node.rpc("generateblock", ADDRESS, [])
        assert await node.rpc("getrawmempool") == []

    on_clock(scenario)


def test_uptime_goes_by_the_time_that_was_set(on_clock):
    async def scenario(node):
        await node.rpc("setmocktime", NOW + 10)
        assert await node.rpc("uptime") == 70  # the harness began a minute before NOW
        await node.rpc("setmocktime", 1)
        assert await node.rpc("uptime") == 0

    on_clock(scenario)


def test_no_block_can_be_made_once_header_times_have_run_out(on_clock):
    async def scenario(node):
        await node.grow(11)
        await node.rpc("setmocktime", SET_MAX)
        assert len(await node.rpc("generatetoaddress", 6, ADDRESS)) == 6
        assert (await node.rpc("getblockchaininfo"))["mediantime"] == TIME_MAX
        error = await node.rpc_error("generatetoaddress", 1, ADDRESS)
        assert error == {"code": -32603, "message": "CreateNewBlock: time-too-new"}
        for path in ("/", "/mempool", "/peers", "/api/v1/status", "/metrics"):
            assert (await node.get(path)).status_code == 200

    on_clock(scenario)


@pytest.mark.parametrize("timestamp", [-1, SET_MAX + 1, (1 << 63) - 1])
def test_times_out_of_range_are_told_in_cores_words(on_clock, timestamp):
    async def scenario(node):
        problem = f"Mocktime must be in the range [0, 9223372036], not {timestamp}."
        assert await node.rpc_error("setmocktime", timestamp) == {"code": -8, "message": problem}

    on_clock(scenario)


@pytest.mark.parametrize(
    ("params", "code"), [((), -1), (("1",), -3), ((1.5,), -1), ((1 << 63,), -1), ((True,), -3)]
)
def test_what_is_no_whole_number_of_64_bits_is_no_time(on_clock, params, code):
    async def scenario(node):
        assert (await node.rpc_error("setmocktime", *params))["code"] == code

    on_clock(scenario)


def test_the_time_is_set_on_regtest_only(on_clock):
    async def scenario(node):
        problem = "setmocktime is for regression testing (-regtest mode) only"
        for timestamp in (0, NOW, -1):
            expected = {"code": -1, "message": problem}
            assert await node.rpc_error("setmocktime", timestamp) == expected
        assert node.context.clock() != NOW

    on_clock(scenario, params=DEVNET)
