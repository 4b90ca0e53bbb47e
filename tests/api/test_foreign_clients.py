"""Clients of other projects: python-bitcoinrpc, and schemathesis with the API's own schema."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection

import pytest
import requests
import schemathesis.checks
import schemathesis.specs.openapi.checks
from bitcoinrpc.authproxy import AuthServiceProxy, JSONRPCException
from hypothesis import HealthCheck, Phase, given, settings

from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from tests.api.harness import PASSWORD, listening, payment
from tests.builders import KEY

EXAMPLES_MAX = 12  # requests an operation
PARTS = 8  # of the operations, a test each: one test of all would take long
CHECKS = [
    schemathesis.checks.not_a_server_error,
    schemathesis.specs.openapi.checks.status_code_conformance,
    schemathesis.specs.openapi.checks.content_type_conformance,
    schemathesis.specs.openapi.checks.response_headers_conformance,
]
ENDLESS = "/api/v1/events"


@contextmanager
def proxy(url: str) -> Iterator[AuthServiceProxy]:
    """Yield python-bitcoinrpc's client on a connection that is closed at the end."""
    host, port = url.removeprefix("http://").split(":")
    with closing(HTTPConnection(host, int(port), timeout=30)) as connection:
        yield AuthServiceProxy(f"http://__cookie__:{PASSWORD}@{host}:{port}", connection=connection)


@pytest.mark.net
def test_python_bitcoinrpc_calls_and_batches(on_node):
    def use(url: str, raw: str) -> None:
        with proxy(url) as rpc:
            assert rpc.getblockcount() == 101
            tip = rpc.getbestblockhash()
            assert rpc.getblock(tip)["height"] == 101
            txid = rpc.sendrawtransaction(raw)
            assert rpc.getrawmempool() == [txid]
            assert str(rpc.getmempoolentry(txid)["fees"]["base"]) == "0.00001000"
            ids = rpc.batch_([["getblockhash", height] for height in range(5)])
            assert len(set(ids)) == 5
            assert rpc.batch_([["getblockhash", 101], ["getblockcount"]]) == [tip, 101]
            mined = rpc.generatetoaddress(1, script_address(KEY.script, REGTEST.address_prefixes))
            assert rpc.getblock(mined[0])["tx"][1:] == [txid]
            with pytest.raises(JSONRPCException) as error:
                rpc.getblockhash(1000)
            assert error.value.error == {"code": -8, "message": "Block height out of range"}

    async def scenario(node):
        await node.grow(101)
        async with listening(node) as url:
            await asyncio.to_thread(use, url, payment(node).raw.hex())

    on_node(scenario)


@pytest.fixture(scope="module")
def _tools_ready():
    """Run the one-time set-up of hypothesis and schemathesis outside the tests' time."""
    text = {"name": "word", "in": "query", "schema": {"type": "string"}}
    number = {"name": "count", "in": "query", "schema": {"type": "integer"}}
    body = {"content": {"application/json": {"schema": {"type": "object"}}}}
    answer = {"200": {"description": "any"}}
    way = {"parameters": [text, number], "requestBody": body, "responses": answer}
    info = {"title": "toy", "version": "1"}
    toy = {"openapi": "3.1.0", "info": info, "paths": {"/toy": {"post": way}}}
    (operation,) = (
        found.ok() for found in schemathesis.openapi.from_dict(toy).get_all_operations()
    )

    @settings(max_examples=1, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def draw(case) -> None:
        assert case.operation is operation

    draw()


@pytest.mark.net
@pytest.mark.usefixtures("_tools_ready")
@pytest.mark.parametrize("part", range(PARTS))
def test_every_operation_keeps_to_its_schema(on_node, part):
    def use(url: str, schema: dict) -> None:
        loaded = schemathesis.openapi.from_dict(schema)
        operations = [found.ok() for found in loaded.get_all_operations()]
        assert len(operations) == len(list_operations(schema))
        endless = [operation for operation in operations if operation.path == ENDLESS]
        assert len(endless) == 1
        operations.remove(endless[0])
        for operation in operations[part::PARTS]:
            with requests.Session() as session:
                check_operation(operation, url, session)

    async def scenario(node):
        await node.grow(101)
        await node.pool(payment(node))
        async with listening(node) as url:
            schema = (await node.get("/openapi.json")).json()
            await asyncio.to_thread(use, url, schema)

    on_node(scenario)


def list_operations(schema: dict) -> list[str]:
    return [f"{way} {path}" for path, ways in schema["paths"].items() for way in ways]


def check_operation(operation, url: str, session: requests.Session) -> None:
    """Send unusual requests of one operation, and let schemathesis check the replies."""

    @settings(
        max_examples=EXAMPLES_MAX,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def check(case) -> None:
        case.call_and_validate(base_url=url, session=session, checks=CHECKS)

    check()
