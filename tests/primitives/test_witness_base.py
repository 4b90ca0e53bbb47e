"""The bytes of a transaction without its witnesses, from its bytes alone."""

from hypothesis import given
from hypothesis import strategies as st

from chain.primitives.transaction import Transaction, TxIn, TxOut, witness_base
from tests.primitives.strategies import outputs, transactions, uint32

spends = st.builds(
    TxIn,
    outpoint=st.binary(min_size=36, max_size=36),
    script_sig=st.just(b""),
    sequence=uint32,
    witness=st.lists(st.binary(max_size=300), min_size=1, max_size=3).map(tuple),
)
short_outputs = outputs.filter(lambda out: len(out.script) < 253)


@given(uint32, st.lists(spends, min_size=1), st.lists(short_outputs), uint32)
def test_the_base_of_what_spends_by_witnesses_alone_is_its_bytes_without_them(
    version, inputs, outs, lock_time
):
    tx = Transaction(version, inputs, outs, lock_time)
    assert witness_base(tx.raw) == tx.base_raw


@given(st.one_of(transactions.map(lambda tx: tx.raw), st.binary(max_size=200)))
def test_any_bytes_give_some_bytes_or_none(raw):
    base = witness_base(raw)
    assert base is None or len(base) <= len(raw) + 8


def test_a_transaction_of_very_many_inputs_is_left_to_the_decoder():
    tx = Transaction(2, [TxIn(bytes(36), witness=(b"x",))] * 300, [TxOut(1, b"")])
    assert witness_base(tx.raw) != tx.base_raw
