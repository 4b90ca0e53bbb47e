"""The JSON written from a transaction's bytes is that of the decoded transaction."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.coin import Coin
from chain.consensus.params import REGTEST
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import NULL_OUTPOINT
from chain.primitives.script import op_return, p2pkh_script
from chain.primitives.transaction import Transaction, TxIn, TxOut, decode_transaction
from chain.service.api.raw_tx_text import _written, raw_tx_text
from chain.service.api.tx_text import ScriptTexts, confirmed_text, script_texts, tx_text
from tests.api.test_tx_text import POINTS, SCRIPTS, TRANSACTIONS, UINT32, VALUES
from tests.builders import ChainBuilder

BLOCK = ChainBuilder(REGTEST).tip
STATUS = confirmed_text(BLOCK.height, BLOCK.id, BLOCK.header.time)
SIZES = st.one_of(st.integers(0, 80), st.sampled_from([252, 253, 254, 300]))
LONG = SIZES.map(bytes)
P2WPKH = b"\x00\x14" + bytes(range(20))
POINT = bytes(range(36))
SPENDS = st.builds(
    TxIn, POINTS, st.just(b""), UINT32, st.lists(st.one_of(st.binary(max_size=80), LONG)).map(tuple)
)
WITNESS_SPENDS = st.builds(
    Transaction,
    UINT32,
    st.lists(SPENDS, min_size=1, max_size=3),
    st.lists(st.builds(TxOut, VALUES, st.one_of(SCRIPTS, LONG)), max_size=3),
    UINT32,
)
COINS = st.builds(Coin, VALUES, st.one_of(SCRIPTS, LONG), UINT32, st.booleans())


def usual(point: bytes = POINT, count: int = 1, *, items: int = 2, outputs: int = 2) -> Transaction:
    """Return a transaction of P2WPKH, or another one by one of its parts."""
    witness = (bytes(range(71)), bytes(33), *(b"x",) * items)[:items]
    out = TxOut(123_456, P2WPKH)
    return Transaction(2, [TxIn(point, b"", 5, witness)] * count, [out] * outputs, 7)


def check(tx: Transaction, coins: tuple[Coin, ...]) -> None:
    right = tx_text(tx, coins, BLOCK, REGTEST.address_prefixes)
    assert raw_tx_text(tx.raw, tx.txid, coins, STATUS, REGTEST.address_prefixes) == right


@given(st.one_of(TRANSACTIONS, WITNESS_SPENDS), st.data())
def test_the_text_of_bytes_is_that_of_the_decoded_transaction(tx, data):
    try:
        if decode_transaction(tx.raw) != tx:
            return
    except DecodeError:  # without inputs, which no block has
        return
    count = len(tx.inputs)
    drawn = data.draw(st.one_of(st.just([]), st.lists(COINS, min_size=count, max_size=count)))
    check(tx, tuple(drawn))


@pytest.mark.parametrize(
    "tx",
    [
        usual(NULL_OUTPOINT),
        usual(bytes(32) + b"\x01\x00\x00\x00"),
        usual(count=252),
        usual(count=253),
        usual(items=0, outputs=1),
        usual(items=1),
        usual(items=252),
        usual(items=253),
        usual(outputs=0),
        usual(outputs=252),
        usual(outputs=253),
        Transaction(1, [TxIn(POINT, b"\x51", 5, (b"a", b"b"))], [TxOut(1, P2WPKH)]),
        Transaction(1, [TxIn(POINT, b"", 5, (bytes(252), bytes(253)))], [TxOut(1, P2WPKH)]),
        Transaction(1, [TxIn(POINT, b"", 5, (bytes(253), bytes(33)))], [TxOut(1, P2WPKH)]),
        Transaction(1, [TxIn(POINT, b"", 5, (bytes(71), bytes(33)))], [TxOut(1, bytes(300))]),
        Transaction(1, [TxIn(POINT)], [TxOut(1, p2pkh_script(bytes(20)))]),
        Transaction(1, [TxIn(POINT, b"", 5, (b"", b""))], [TxOut(0, op_return(bytes(40)))]),
    ],
)
def test_transactions_at_the_limits_have_the_same_text(tx):
    check_with_coins(tx)


def other_items() -> Transaction:
    """Return one with 256 witness items, where a count of one byte would find 253 others."""
    items = [bytes([5]), *[b""] * 255]  # the byte would be the size of five empty items
    return Transaction(2, [TxIn(POINT, b"", 5, tuple(items))], [TxOut(1, P2WPKH)], 7)


def other_outputs() -> Transaction:
    """Return one with 253 outputs, where a count of one byte would find 253 others.

    The second of these would begin with the last byte of the first value, have its own value and
    script in the first script, and end with the second output.
    """
    second = TxOut(2, P2WPKH)
    size = len(P2WPKH) + 9 + len(second.script)  # its value and size before it
    first = TxOut(1, bytes(6) + bytes([size]) + P2WPKH)
    outputs = [first, second, *[TxOut(3, P2WPKH)] * 251]
    return Transaction(2, [TxIn(POINT, b"", 5, (bytes(71), bytes(33)))], outputs, 7)


@pytest.mark.parametrize("tx", [other_items(), other_outputs()])
def test_a_count_of_several_bytes_is_not_read_as_one_byte(tx):
    """What follows would make sense, too: a page would show payments that nobody made."""
    assert all(out.value < 4 for out in tx.outputs)
    check_with_coins(tx)


def check_with_coins(tx: Transaction) -> None:
    for script in (P2WPKH, b"", b"\x51" * 43, bytes(300)):
        check(tx, (Coin(2**40, script, 3, False),) * len(tx.inputs))
    check(tx, ())


@given(st.binary(min_size=20, max_size=20))
def test_the_usual_script_has_the_text_of_any_other(key_hash):
    texts = ScriptTexts(REGTEST.address_prefixes)
    assert texts[b"\x00\x14" + key_hash] == texts._any(b"\x00\x14" + key_hash)


def test_few_texts_of_scripts_are_kept_and_no_long_one():
    texts = ScriptTexts(REGTEST.address_prefixes)
    for number in range(10_000):
        texts[b"\x00\x14" + number.to_bytes(20, "big")]
        assert len(texts) <= 8_192
    kept = len(texts)
    assert texts[bytes(300)]
    assert len(texts) == kept


def test_most_transactions_are_written_without_being_decoded():
    shown = script_texts(REGTEST.address_prefixes)
    for tx in (usual(), usual(count=3), usual(items=1), usual(items=4), usual(outputs=30)):
        coins = (Coin(2**40, P2WPKH, 3, False),) * len(tx.inputs)
        right = tx_text(tx, coins, BLOCK, REGTEST.address_prefixes)
        assert _written(tx.raw, tx.txid, coins, STATUS, shown) == right
