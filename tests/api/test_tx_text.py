"""The written JSON of a transaction is that of the models which OpenAPI describes."""

import json

from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.coin import Coin
from chain.consensus.params import REGTEST
from chain.primitives.block import decode_block
from chain.primitives.numbers import NULL_OUTPOINT
from chain.primitives.transaction import Transaction, TxIn, TxOut
from chain.service.api.esplora_json import Tx, to_json
from chain.service.api.tx_text import tx_text
from tests.builders import ChainBuilder

UINT32 = st.integers(0, 0xFFFFFFFF)
VALUES = st.integers(-(1 << 63), (1 << 63) - 1)
SCRIPTS = st.one_of(
    st.binary(max_size=60),
    st.binary(min_size=20, max_size=20).map(lambda program: b"\x00\x14" + program),
    st.binary(min_size=32, max_size=32).map(lambda program: b"\x51\x20" + program),
    st.binary(min_size=32, max_size=32).map(lambda program: b"\x00\x20" + program),
)
POINTS = st.one_of(st.just(NULL_OUTPOINT), st.binary(min_size=36, max_size=36))
INPUTS = st.builds(
    TxIn, POINTS, st.binary(max_size=60), UINT32, st.lists(st.binary(max_size=9)).map(tuple)
)
COINS = st.one_of(st.none(), st.builds(Coin, VALUES, SCRIPTS, UINT32, st.booleans()))
TRANSACTIONS = st.builds(
    Transaction,
    UINT32,
    st.lists(INPUTS, max_size=3),
    st.lists(st.builds(TxOut, VALUES, SCRIPTS), max_size=3),
    UINT32,
)
BLOCKS = st.sampled_from([None, ChainBuilder(REGTEST).tip])


@given(TRANSACTIONS, st.data(), BLOCKS)
def test_the_text_of_any_transaction_is_the_json_of_its_model(tx, data, block):
    count = len(tx.inputs)
    coins = data.draw(st.one_of(st.just(()), st.lists(COINS, min_size=count, max_size=count)))
    text = tx_text(tx, tuple(coins), block, REGTEST.address_prefixes)
    assert to_json(Tx.model_validate_json(text)) == text.encode(), text
    shown = json.loads(text)
    assert shown["txid"] == tx.txid[::-1].hex()
    assert [bytes.fromhex(one["scriptpubkey"]) for one in shown["vout"]] == [
        out.script for out in tx.outputs
    ]
    assert [one["sequence"] for one in shown["vin"]] == [txin.sequence for txin in tx.inputs]


def test_the_text_of_a_coinbase_has_no_fee_and_no_prevout():
    chain = ChainBuilder(REGTEST)
    [tx] = decode_block(chain.grow(1)[0].raw).transactions
    shown = json.loads(tx_text(tx, (), chain.tip, REGTEST.address_prefixes))
    assert shown["fee"] == 0
    assert shown["vin"][0]["prevout"] is None
    assert shown["vin"][0]["is_coinbase"]
    assert shown["status"]["block_height"] == 1
