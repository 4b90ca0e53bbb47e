"""JSON-RPC's transport: who may call, statuses, versions, batches, arguments."""

import time

import pytest

from chain.service.api.rpc import server
from chain.service.api.rpc.server import BATCH_MAX, WRONG_PASSWORD_DELAY_S
from chain.service.ledger_thread import LedgerBusyError
from tests.api.harness import PASSWORD, basic

CALL = {"id": 1, "method": "getblockcount"}
RAW_HEADERS = {"Authorization": basic("__cookie__", PASSWORD)}


def test_every_path_answers(on_node):
    async def scenario(node):
        for path in ("/", "/rpc", "/wallet/name"):
            reply = await node.post_rpc(CALL, path)
            assert reply.headers["content-type"] == "application/json"
            assert reply.json() == {"result": 0, "error": None, "id": 1}

    on_node(scenario)


def test_only_post_is_a_call(on_node):
    async def scenario(node):
        for path in ("/rpc", "/wallet/x"):
            assert (await node.get(path, headers=RAW_HEADERS)).status_code == 405

    on_node(scenario)


WRONG_LOGINS = [
    None,
    basic("__cookie__", "1" * 64),
    basic("__cookie__", ""),
    basic("", PASSWORD),
    basic("someone", PASSWORD),
    "Bearer " + PASSWORD,
    "Basic",
    "Basic !!!",
    "Basic " + "QQ" * 2000,
]


def test_without_the_password_nothing_is_read(on_node):
    async def scenario(node):
        for header in WRONG_LOGINS:
            headers = {} if header is None else {"Authorization": header}
            reply = await node.client.post("/", content=b"{not json", headers=headers)
            assert (reply.status_code, reply.content) == (401, b""), header
            assert reply.headers["www-authenticate"] == 'Basic realm="jsonrpc"'

    on_node(scenario)


def test_wrong_password_costs_time(on_node):
    async def scenario(node):
        started = time.monotonic()
        await node.client.post("/", json=CALL, headers={"Authorization": basic("a", "b")})
        assert time.monotonic() - started >= WRONG_PASSWORD_DELAY_S

    on_node(scenario)


FAILING_CALLS = [
    ({"id": 1, "method": "nosuch"}, 404, -32601),
    ({"id": 1}, 400, -32600),
    ({"id": 1, "method": 5}, 400, -32600),
    ({"id": 1, "method": "getblockcount", "params": 5}, 400, -32600),
    ({"id": 1, "method": "getblockcount", "params": "x"}, 400, -32600),
    ({"id": 1, "method": "getblockhash", "params": [99]}, 500, -8),
    ({"id": 1, "method": "getblockhash", "params": ["1"]}, 500, -3),
    ({"id": 1, "method": "getblockhash", "params": [True]}, 500, -3),
    ({"id": 1, "method": "getblockhash", "params": [1.0]}, 500, -1),
    ({"id": 1, "method": "getblockhash", "params": []}, 500, -1),
    ({"id": 1, "method": "getblockhash", "params": [None]}, 500, -3),
    ({"id": 1, "method": "getblockhash", "params": [1, 2]}, 500, -1),
    ({"id": 1, "method": "getblockhash", "params": {"high": 1}}, 500, -8),
    ({"id": 1, "method": "getblockhash", "params": {"args": [0], "height": 0}}, 500, -8),
]


def test_legacy_errors_have_both_members_and_a_status(on_node):
    async def scenario(node):
        for call, status, code in FAILING_CALLS:
            reply = await node.post_rpc(call)
            assert reply.status_code == status, call
            shape = reply.json()
            assert (shape["result"], shape["error"]["code"], shape["id"]) == (None, code, 1), call
            strict = await node.post_rpc({"jsonrpc": "2.0", **call})
            assert strict.status_code == (400 if code == -32600 else 200), call
            assert set(strict.json()) == {"jsonrpc", "error", "id"}
            assert strict.json()["error"]["code"] == code

    on_node(scenario)


# What Core 30 answers (httprpc.cpp, JSONRPCRequest::parse, its test interface_rpc.py); in the
# members, "id" where the reply has one.
STATUSES = [
    # body, status, code or None, members of the reply
    (b"", 500, -32700, "result error id"),
    (b"nonsense", 500, -32700, "result error id"),
    (b"5", 500, -32700, "result error id"),
    (b'{"id":1,"method":"uptime"', 500, -32700, "result error id"),
    (b'{"id":1,"method":"uptime","params":[NaN]}', 500, -32700, "result error id"),
    (b"[" * 1000, 500, -32700, "result error id"),
    (b'{"id":1}', 400, -32600, "result error id"),
    (b"{}", 400, -32600, "result error"),
    (b'{"jsonrpc":2,"method":"uptime"}', 400, -32600, "result error"),
    (b'{"jsonrpc":"3.0","method":"uptime"}', 400, -32600, "result error"),
    (b'{"jsonrpc":"2.0","id":1}', 400, -32600, "jsonrpc error id"),
    (b'{"jsonrpc":"2.0","method":5,"id":1}', 400, -32600, "jsonrpc error id"),
    (b'{"jsonrpc":"2.0","method":"uptime","params":5,"id":1}', 400, -32600, "jsonrpc error id"),
    (b'{"method":"nosuch","id":1}', 404, -32601, "result error id"),
    (b'{"method":"nosuch"}', 404, -32601, "result error"),
    (b'{"jsonrpc":"2.0","method":"nosuch","id":1}', 200, -32601, "jsonrpc error id"),
    (b'{"jsonrpc":"2.0","method":"nosuch"}', 204, None, ""),
    (b'{"method":"getblockhash","params":[9],"id":1}', 500, -8, "result error id"),
    (b'{"jsonrpc":"1.0","method":"getblockhash","params":[9],"id":1}', 500, -8, "result error id"),
    (b'{"jsonrpc":"2.0","method":"getblockhash","params":[9],"id":1}', 200, -8, "jsonrpc error id"),
    (b'{"jsonrpc":"2.0","method":"getblockhash","params":[9]}', 204, None, ""),
    (b'{"method":"uptime"}', 200, None, "result error"),
    (b'{"method":"uptime","id":null}', 200, None, "result error id"),
    (b'{"jsonrpc":"2.0","method":"uptime","id":null}', 200, None, "jsonrpc result id"),
    (b'{"jsonrpc":"2.0","method":"uptime"}', 204, None, ""),
    (b'[{"method":"nosuch","id":1}]', 200, -32601, "result error id"),
    (b'[{"method":5,"id":1}]', 200, -32600, "result error id"),
    (b'[{"jsonrpc":"2.0","method":5,"id":1}]', 200, -32600, "jsonrpc error id"),
    (b'[{"jsonrpc":"2.0","method":"uptime"}]', 204, None, ""),
    (b"[5]", 200, -32600, "result error id"),
    (b"[]", 200, None, ""),
]


@pytest.mark.parametrize(("body", "status", "code", "members"), STATUSES)
def test_every_kind_of_body_has_core_s_status_code_and_members(
    on_node, body, status, code, members
):
    async def scenario(node):
        reply = await node.client.post("/", content=body, headers=RAW_HEADERS)
        assert reply.status_code == status
        shown = reply.json() if reply.content else []
        shown = shown if isinstance(shown, list) else [shown]
        assert [" ".join(one) for one in shown] == [members][: bool(members)]
        assert all(one.get("error") is None or one["error"]["code"] == code for one in shown)
        assert (code is None) == all(one.get("error") is None for one in shown)

    on_node(scenario)


REPEATED = [
    # body, status, code, message
    ('{"id":1,"method":"getblockhash","params":{"height":0,"height":0}}', 500, -8,
     "Parameter height specified multiple times"),
    ('{"id":1,"method":"getblock","params":{"args":[],"args":[]}}', 500, -8,
     "Parameter args specified multiple times"),
    ('{"id":1,"method":"uptime","params":{"x":1,"x":1}}', 500, -8,
     "Parameter x specified multiple times"),
    ('{"id":1,"method":"getblocktemplate","params":[{"mode":"template","mode":"proposal"}]}',
     500, -8, "Parameter mode specified multiple times"),
    ('{"id":1,"method":"createrawtransaction","params":[[{"txid":"00","txid":"01"}],[]]}', 500, -8,
     "Parameter txid specified multiple times"),
    ('{"id":1,"method":"uptime","method":"stop"}', 400, -32600,
     "Key method specified multiple times"),
    ('{"id":1,"id":1,"method":"uptime"}', 400, -32600, "Key id specified multiple times"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "code", "message"), REPEATED)
def test_a_name_that_comes_twice_is_named_and_nothing_is_done(on_node, body, status, code, message):
    async def scenario(node):
        reply = await node.client.post("/", content=body, headers=RAW_HEADERS)
        wanted = {"result": None, "error": {"code": code, "message": message}, "id": 1}
        assert (reply.status_code, reply.json()) == (status, wanted)
        batch = f'[{{"id":2,"method":"getblockcount"}},{body}]'
        first, second = (await node.client.post("/", content=batch, headers=RAW_HEADERS)).json()
        assert (first["result"], second) == (0, wanted), "the calls beside it are made"
        assert node.stopped == []

    on_node(scenario)


def test_no_version_and_1_0_are_legacy_and_other_versions_are_refused(on_node):
    """Bitcoin: JSONRPCRequest::parse."""

    async def scenario(node):
        for version in ("1.0", None, 1, 1.0):
            reply = await node.post_rpc({"jsonrpc": version, **CALL})
            assert reply.json() == {"result": 0, "error": None, "id": 1}, version
        for version, why in (
            ("1.1", "JSON-RPC version not supported"),
            ("3.0", "JSON-RPC version not supported"),
            ("", "JSON-RPC version not supported"),
            (2.0, "jsonrpc field must be a string"),
            (1.1, "jsonrpc field must be a string"),
            (True, "jsonrpc field must be a string"),
            (2, "jsonrpc field must be a string"),
            ([], "jsonrpc field must be a string"),
        ):
            reply = await node.post_rpc({"jsonrpc": version, **CALL})
            assert reply.status_code == 400, version
            assert reply.json()["error"] == {"code": -32600, "message": why}

    on_node(scenario)


def test_version_2_0_is_strict(on_node):
    async def scenario(node):
        reply = await node.post_rpc({"jsonrpc": "2.0", **CALL})
        assert reply.json() == {"jsonrpc": "2.0", "result": 0, "id": 1}

    on_node(scenario)


def test_notification_is_performed_and_not_answered(on_node):
    async def scenario(node):
        reply = await node.post_rpc({"jsonrpc": "2.0", "method": "stop"})
        assert (reply.status_code, reply.content) == (204, b"")
        assert node.stopped == [True]
        only = await node.post_rpc([{"jsonrpc": "2.0", "method": "getblockcount"}])
        assert (only.status_code, only.content) == (204, b"")

    on_node(scenario)


def test_id_comes_back_as_it_was(on_node):
    async def scenario(node):
        for call_id in ("text", 7, 1.5, None, "é", [1], {"a": 1}):
            reply = await node.post_rpc({"id": call_id, "method": "getblockcount"})
            assert reply.json()["id"] == call_id

    on_node(scenario)


IDS = [
    "1e99999999999999999999", "-1E-99999999999999999999", "1.0", "1e5", "-0", "0.10", "9" * 400,
    '"1e5"', '{"b":[1.50,null],"a":"x"}', "null", "true",
]  # fmt: skip


def test_any_id_comes_back_as_it_was_written(on_node):
    async def scenario(node):
        for text in IDS:
            for version in ("1.0", "2.0"):
                for wrong in ("getblockcount", "nosuch"):
                    body = f'{{"jsonrpc":"{version}","method":"{wrong}","id":{text}}}'
                    for sent in (body, f"[{body}]"):
                        reply = await node.client.post("/", content=sent, headers=RAW_HEADERS)
                        assert reply.text.rstrip("]\n").endswith(f',"id":{text}}}'), sent

    on_node(scenario)


STRICT = {"jsonrpc": "2.0", "method": "getblockcount"}


def test_in_version_2_0_a_reply_has_a_result_or_an_error_and_never_both(on_node):
    """Singles, batches, and batches among whose calls are older ones."""

    async def scenario(node):
        good, wrong = {**STRICT, "id": 1}, {**STRICT, "id": 2, "params": [1]}
        for call, member in ((good, "result"), (wrong, "error")):
            for agent in ("AuthServiceProxy/0.1", "curl/8"):
                reply = await node.post_rpc(call, headers={"User-Agent": agent})
                assert set(reply.json()) == {"jsonrpc", "id", member}, agent
        for agent in ("AuthServiceProxy/0.2", "", "python-httpx"):
            batch = [good, wrong, {"method": "getblockcount", "id": 3}]
            reply = await node.post_rpc(batch, headers={"User-Agent": agent})
            first, second, third = reply.json()
            assert first == {"jsonrpc": "2.0", "result": 0, "id": 1}
            assert set(second) == {"jsonrpc", "error", "id"}
            assert third == {"result": 0, "error": None, "id": 3}

    on_node(scenario)


def test_python_bitcoinrpc_alone_gets_both_members_in_a_batch(on_node):
    async def scenario(node):
        batch = [{**STRICT, "id": 1}, {**STRICT, "id": 2, "params": [1]}]
        reply = await node.post_rpc(batch, headers={"User-Agent": "AuthServiceProxy/0.1"})
        first, second = reply.json()
        assert first == {"jsonrpc": "2.0", "result": 0, "error": None, "id": 1}
        assert (second["result"], second["error"]["code"]) == (None, -1)

    on_node(scenario)


def test_a_notification_gets_no_answer_whatever_comes_of_it(on_node):
    async def scenario(node):
        notifications = [
            STRICT,
            {**STRICT, "params": [1]},
            {**STRICT, "method": "nosuch"},
            {**STRICT, "params": None},
        ]
        for one in notifications:
            reply = await node.post_rpc(one)
            assert (reply.status_code, reply.content) == (204, b""), one
        reply = await node.post_rpc(notifications)
        assert (reply.status_code, reply.content) == (204, b"")
        [told] = (await node.post_rpc([*notifications, {**STRICT, "id": None}])).json()
        assert told == {"jsonrpc": "2.0", "result": 0, "id": None}

    on_node(scenario)


def test_what_is_no_call_is_no_notification_either(on_node):
    """JSON-RPC 2.0, section 7: the answer has a null id."""

    async def scenario(node):
        for call in (
            {"jsonrpc": "2.0"},
            {"jsonrpc": "2.0", "method": 1, "params": "bar"},
            {**STRICT, "params": 5},
        ):
            for sent in (call, [call]):
                told = (await node.post_rpc(sent)).json()
                told = told[0] if isinstance(sent, list) else told
                assert set(told) == {"jsonrpc", "error", "id"}, call
                assert (told["error"]["code"], told["id"]) == (-32600, None), call

    on_node(scenario)


def test_what_is_no_object_is_answered_in_the_version_of_the_calls_around_it(on_node):
    async def scenario(node):
        error = {"code": -32600, "message": "Invalid Request object"}
        old, new = {"result": None, "error": error, "id": None}, {"jsonrpc": "2.0", "error": error}
        for batch, told in (
            ([5], old),
            ([[], CALL], old),
            ([None, {**STRICT, "id": 1}], {**new, "id": None}),
            (["x", STRICT], {**new, "id": None}),
        ):
            assert (await node.post_rpc(batch)).json()[0] == told, batch

    on_node(scenario)


def test_batch_is_answered_in_order_with_status_200(on_node):
    async def scenario(node):
        reply = await node.post_rpc(
            [
                CALL,
                {"jsonrpc": "2.0", "id": 2, "method": "getblockcount"},
                {"jsonrpc": "2.0", "method": "getblockcount"},
                {"id": 3, "method": "nosuch"},
                5,
            ]
        )
        assert reply.status_code == 200
        first, second, third, fourth = reply.json()
        assert first == {"result": 0, "error": None, "id": 1}
        assert second == {"jsonrpc": "2.0", "result": 0, "id": 2}
        assert third["error"]["code"] == -32601
        assert (fourth["error"]["code"], fourth["id"]) == (-32600, None)
        assert "result" not in fourth
        empty = await node.post_rpc([])
        assert (empty.status_code, empty.json()) == (200, [])

    on_node(scenario)


def test_batch_is_bounded(on_node):
    async def scenario(node):
        for count, status in [(BATCH_MAX, 200), (BATCH_MAX + 1, 400)]:
            assert (await node.post_rpc([5] * count)).status_code == status

    on_node(scenario)


def test_a_batch_whose_replies_are_large_ends_early(on_node, monkeypatch):
    async def scenario(node):
        one = len((await node.post_rpc([CALL])).text) - len("[]\n")
        monkeypatch.setattr(server, "BATCH_REPLY_MAX", 2 * one - 1)
        replies = (await node.post_rpc([CALL] * 2 + [{**CALL, "id": 7}])).json()
        assert [reply["error"] and reply["error"]["code"] for reply in replies] == [None, None, -1]
        assert replies[2]["id"] == 7
        monkeypatch.setattr(server, "BATCH_REPLY_MAX", 2 * one)
        replies = (await node.post_rpc([CALL] * 3)).json()
        assert [reply["error"] for reply in replies] == [None] * 3

    on_node(scenario)


def test_text_that_is_no_call_is_a_parse_error_as_in_core(on_node):
    async def scenario(node):
        for body in (b"", b"{", b"[1,", b"nonsense", b'{"a":}', b"5", b'"text"', b"null"):
            reply = await node.client.post("/", content=body, headers=RAW_HEADERS)
            assert (reply.status_code, reply.json()["error"]["code"]) == (500, -32700), body

    on_node(scenario)


def test_named_arguments(on_node):
    async def scenario(node):
        genesis = await node.rpc("getblockhash", 0)
        for params in (
            {"blockhash": genesis, "verbosity": 0},
            {"args": [genesis], "verbosity": 0},
            {"args": [genesis, 0]},
        ):
            reply = await node.post_rpc({"id": 1, "method": "getblock", "params": params})
            assert reply.json()["result"].startswith("01000000")

    on_node(scenario)


def test_any_content_type_will_do(on_node):
    """curl sends a form's, minerd JSON's, others none: the password decides, not this."""

    async def scenario(node):
        for kind in ("text/plain", "application/x-www-form-urlencoded", None):
            headers = RAW_HEADERS | ({} if kind is None else {"Content-Type": kind})
            reply = await node.client.post("/", content=b'{"method":"uptime"}', headers=headers)
            assert reply.json()["result"] == 60

    on_node(scenario)


def test_full_ledger_queue_is_a_503_in_core_s_words(on_node):
    def never(_call):
        async def busy(_function):
            raise LedgerBusyError("full")

        return busy

    async def scenario(node):
        block = node.chain.add().raw.hex()
        reply = await node.post_rpc({"method": "submitblock", "params": [block]})
        assert (reply.status_code, reply.text) == (503, "Work queue depth exceeded")

    on_node(scenario, wrap_call=never)


def test_a_wallet_method_is_answered_with_the_wallets_command(on_node):
    async def scenario(node):
        reply = await node.post_rpc({"id": 1, "method": "getbalance"})
        error = reply.json()["error"]
        assert (reply.status_code, error["code"]) == (404, -32601)
        assert error["message"].endswith("use groat-wallet balance")

    on_node(scenario)
