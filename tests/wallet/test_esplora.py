"""The client: asks within limits, and does not believe what it can check."""

import contextlib
import json
from decimal import Decimal

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.params import DEVNET, REGTEST
from chain.primitives.numbers import Amount, id_text, outpoint
from chain.primitives.transaction import Transaction, TxIn, TxOut
from tests.builders import KEY, coinbase
from tests.wallet.esplora_stub import RegtestChain
from wallet.errors import InputError, NetworkError, NodeDownError, NodeError, RejectedError
from wallet.esplora import Esplora

TX = coinbase(1, 5000)


def client(handler):
    """Return a client of a server that is a function of the request."""
    return Esplora("http://node.invalid/api", transport=httpx.MockTransport(handler))


def saying(status, content, **headers):
    return client(lambda _: answer(status, content, headers))


def answer(status, content=b"", headers=None):
    """Return a response that, as one off the network, was not read yet."""
    data = content.encode() if isinstance(content, str) else content
    return httpx.Response(status, stream=httpx.ByteStream(data), headers=headers)


def tx_json(**changes):
    chain = RegtestChain()
    chain.mine(KEY.script)
    (entry,) = chain.confirmed.values()
    return chain.tx_json(entry[0]) | changes


def test_network_is_told_by_its_genesis(stub):
    esplora = Esplora(stub.url + "/")
    esplora.check_network(REGTEST)
    with pytest.raises(NetworkError, match="not of network devnet"):
        esplora.check_network(DEVNET)
    esplora.close()


def test_requests_are_plain(stub, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    esplora = Esplora(stub.url)
    esplora.tip()
    esplora.close()
    headers = stub.requests[0][2]
    assert headers["Accept-Encoding"] == "identity"
    assert "Authorization" not in headers
    assert "Cookie" not in headers


def test_transaction_is_rebuilt_from_its_json():
    entry = tx_json()
    (seen,) = saying(200, json.dumps([entry])).mempool_transactions(KEY.script)
    assert id_text(seen.transaction.txid) == entry["txid"]
    assert seen.height == 1
    assert seen.transaction.is_coinbase


def changed_value():
    entry = tx_json()
    entry["vout"][0]["value"] += 1
    return [entry]


def changed_script():
    entry = tx_json()
    entry["vout"][0]["scriptpubkey"] = KEY.script[:-1].hex() + "00"
    return [entry]


@pytest.mark.parametrize(
    "listed",
    [
        changed_value(),
        changed_script(),
        [tx_json(txid="00" * 32)],
        [tx_json(version="2")],
        [tx_json(locktime=1 << 40)],
        [tx_json(vin=None)],
        [tx_json(vin=[{}])],
        [tx_json(status={"confirmed": True})],
        [tx_json(status={"confirmed": True, "block_height": 1.5, "block_time": 1})],
        [tx_json(status=None)],
        [1],
        [None],
        {},
        "text",
        None,
    ],
)
def test_lying_or_broken_history_is_refused(listed):
    with pytest.raises(NodeError, match="not what an Esplora server gives"):
        saying(200, json.dumps(listed)).history(KEY.script)


@given(st.recursive(st.none() | st.integers() | st.text() | st.booleans(), st.lists) | st.binary())
def test_no_answer_crashes_the_client(said):
    esplora = saying(200, said if isinstance(said, bytes) else json.dumps(said))
    for ask in (esplora.tip, esplora.fee_estimates, lambda: esplora.history(KEY.script)):
        with contextlib.suppress(NodeError):
            ask()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"00",
        b"zz" * 32,
        b"00" * 31,
        b"00" * 33,
        b"00 " * 32,
        b'"' + b"00" * 32 + b'"',
        b"\xff",
    ],
)
def test_what_is_no_id_is_refused(content):
    with pytest.raises(NodeError, match="not what an Esplora server gives"):
        saying(200, content).check_network(REGTEST)


def test_redirect_is_not_followed():
    esplora = saying(302, b"", Location="http://elsewhere.invalid/")
    with pytest.raises(NodeError, match="answers 302"):
        esplora.tip()


def test_reply_over_the_limit_is_cut_off(monkeypatch):
    monkeypatch.setattr("wallet.esplora._REPLY_BYTES_MAX", 1000)
    with pytest.raises(NodeError, match="too long"):
        saying(200, b"x" * 1001).tip()


def test_reply_that_drips_in_is_given_up(monkeypatch):
    monkeypatch.setattr("wallet.esplora._REPLY_S_MAX", -1.0)
    with pytest.raises(NodeError, match="takes too long"):
        saying(200, b"x").tip()


@pytest.mark.parametrize("status", [429, 503])
def test_busy_server_is_asked_again(status, monkeypatch):
    monkeypatch.setattr("wallet.esplora._WAIT_S", 0.0)
    answers = [answer(status) for _ in range(3)] + [answer(200, b"{}")]
    assert client(lambda _: answers.pop(0)).fee_estimates() == {}
    with pytest.raises(NodeError, match=f"answers {status}"):
        saying(status, b"slow down").fee_estimates()


def test_dropped_connection_is_tried_again_and_a_payment_stays_in_doubt():
    asked = []

    def drop(request):
        asked.append(request.method)
        raise httpx.RemoteProtocolError("dropped")

    with pytest.raises(NodeError, match="closed the connection"):
        client(drop).fee_estimates()
    assert asked == ["GET"] * 4
    with pytest.raises(NodeError, match=r"closed the .*not known whether the payment .* was sent"):
        client(drop).broadcast(TX)
    assert asked == ["GET"] * 4 + ["POST"] * 4


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_lost_answer_to_a_payment_is_asked_for_again(lost):
    """The node has it after the first time, and says so to the next in its own way."""
    answers = ["lost"] * lost + [answer(400, b"txn-already-known")]

    def taken_but_silent(request):
        if request.method == "GET":
            return answer(200, TX.raw.hex().encode())
        if answers[0] == "lost":
            answers.pop(0)
            raise httpx.ReadTimeout("slow", request=request)
        return answers.pop(0)

    client(taken_but_silent).broadcast(TX)
    assert not answers


def test_refusal_after_a_lost_answer_is_a_refusal():
    answers = [answer(502), answer(400, b"bad-txns-inputs-missingorspent")]
    with pytest.raises(RejectedError, match="missingorspent"):
        client(lambda r: answer(404) if r.method == "GET" else answers.pop(0)).broadcast(TX)


def test_node_that_was_never_reached_leaves_no_doubt():
    def refuse(request):
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(NodeDownError):
        client(refuse).broadcast(TX)


def test_node_that_goes_down_meanwhile_leaves_doubt():
    turns = []

    def crash(request):
        turns.append(request)
        if len(turns) == 1:
            raise httpx.ReadError("reset", request=request)
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(NodeError, match="not known whether") as caught:
        client(crash).broadcast(TX)
    assert not isinstance(caught.value, NodeDownError)


@pytest.mark.parametrize("content", [b"00", b"zz", TX.raw.hex().encode()[:-2] + b"11"])
def test_transaction_by_id_must_have_it(content):
    assert saying(200, TX.raw.hex().encode()).transaction(TX.txid) == TX
    assert saying(404, b"Transaction not found").transaction(TX.txid) is None
    with pytest.raises(NodeError, match="not what an Esplora server gives"):
        saying(200, content).transaction(TX.txid)


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"confirmed":1}', b"x"])
def test_status_that_is_none_is_refused(content):
    assert saying(200, b'{"confirmed":true}').is_confirmed(TX.txid)
    with pytest.raises(NodeError):
        saying(200, content).is_confirmed(TX.txid)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/api", "http://", "http://["],
)
def test_unreachable_node_is_told_apart(url):
    esplora = Esplora(url)
    with pytest.raises(NodeDownError) as caught:
        esplora.tip()
    assert str(caught.value).isprintable()
    esplora.close()


@pytest.mark.parametrize("url", ["127.0.0.1:9445", "ftp://x/", "nonsense"])
def test_what_is_no_url_of_a_node_is_refused(url):
    with pytest.raises(InputError, match="http://HOST:PORT/api"):
        Esplora(url)


def test_slow_node_is_told():
    def hang(request):
        raise httpx.ReadTimeout("slow", request=request)

    with pytest.raises(NodeError, match="took too long"):
        client(hang).tip()


def test_refusal_shows_the_reason_without_control_characters():
    with pytest.raises(RejectedError) as caught:
        saying(400, b"min relay \x1b[2Jfee\r\n\x00 not met \xe2\x80\xae" + b"x" * 5000).broadcast(
            TX
        )
    text = str(caught.value)
    assert "min relay ?[2Jfee ? not met" in text
    assert text.isprintable()
    assert len(text) < 400


@pytest.mark.parametrize("content", [b"", b"00" * 32, b"ok"])
def test_wrong_id_after_a_payment_is_told(content):
    with pytest.raises(NodeError, match="/tx"):
        saying(200, content).broadcast(TX)


def test_fee_estimates_are_exact():
    content = json.dumps({"1": 5, "6": 1.0001, "144": 0, "1008": 0.00001})
    assert saying(200, content).fee_estimates() == {1: 5000, 6: 1001, 144: 0, 1008: 1}
    assert Decimal("1.0001") * 1000 <= 1001


WRONG_TARGETS = ['{"x":1}', '{"0":1}', '{"1009":1}', '{"-1":1}', "[]", "1"]
WRONG_RATES = [-1, '"5"', "NaN", "1e999", "Infinity", "null", "1e9", "[]"]


@pytest.mark.parametrize("table", WRONG_TARGETS + [f'{{"1":{rate}}}' for rate in WRONG_RATES])
def test_absurd_fee_estimates_are_refused(table):
    with pytest.raises(NodeError, match="fee-estimates"):
        saying(200, table.encode()).fee_estimates()


@pytest.mark.parametrize(
    "content", [b"[" + b"[]," * 1_000_001 + b"[]]", b"[" + b"1," * 4_000_001 + b"1]"]
)
def test_a_reply_that_would_fill_the_memory_is_refused_before_it_is_parsed(content):
    with pytest.raises(NodeError, match="not what an Esplora server gives"):
        saying(200, content).history(b"")


@pytest.mark.parametrize("target", ["1" * 5000, "0", "-1", "1.5", "٣", "1009", ""])
def test_fee_estimates_for_a_strange_target_are_strange(target):
    with pytest.raises(NodeError, match="not what an Esplora server gives"):
        saying(200, json.dumps({target: 1.0})).fee_estimates()


@pytest.mark.parametrize("field", ["block_height", "block_time"])
@pytest.mark.parametrize("number", [-1, 1 << 32, 1 << 70])
def test_block_of_an_impossible_height_or_time_is_strange(field, number):
    entry = tx_json()
    entry["status"] = entry["status"] | {field: number}
    with pytest.raises(NodeError, match="not what an Esplora server gives"):
        saying(200, json.dumps([entry])).history(KEY.script)


def test_page_that_comes_again_ends_the_history():
    entries = json.dumps([tx_json()] * 25)
    with pytest.raises(NodeError, match="same page"):
        saying(200, entries).history(KEY.script)


def test_negative_output_is_strange():
    spent = Transaction(2, [TxIn(outpoint(TX.txid, 0))], [TxOut(Amount(-1), KEY.script)])
    entry = {
        "txid": id_text(spent.txid),
        "version": 2,
        "locktime": 0,
        "vin": [{"txid": id_text(TX.txid), "vout": 0, "scriptsig": "", "sequence": 0xFFFFFFFF}],
        "vout": [{"value": -1, "scriptpubkey": KEY.script.hex()}],
        "status": {"confirmed": False},
    }
    with pytest.raises(NodeError, match="not what an Esplora server gives"):
        saying(200, json.dumps([entry])).history(KEY.script)


@pytest.mark.parametrize("told", [[], {}, {"chain_stats": {}}, {"chain_stats": {"tx_count": -1}}])
def test_counts_that_are_none_are_refused_or_unknown(told):
    if isinstance(told, dict):
        told = told and told | {"mempool_stats": {"tx_count": 0}}
    esplora = saying(200, json.dumps(told))
    if told == {}:
        assert esplora.counts(KEY.script) is None
    else:
        with pytest.raises(NodeError, match="not what an Esplora server gives"):
            esplora.counts(KEY.script)


@pytest.mark.parametrize("told", [[], {}, {"pos": -1}, {"pos": 1.5}, {"pos": True}, {"pos": "1"}])
def test_position_that_is_none_is_unknown(told):
    assert saying(200, json.dumps(told)).block_position(KEY.script[:32].ljust(32)) is None
