"""Hypothesis strategies for the things that Bitcoin's formats are made of."""

from hypothesis import strategies as st

from chain.primitives.block import Block, Header
from chain.primitives.transaction import Transaction, TxIn, TxOut

uint32 = st.integers(0, 2**32 - 1)
hashes = st.binary(min_size=32, max_size=32)
inputs = st.builds(
    TxIn,
    outpoint=st.binary(min_size=36, max_size=36),
    script_sig=st.binary(max_size=300),
    sequence=uint32,
    witness=st.lists(st.binary(max_size=300), max_size=3).map(tuple),
)
outputs = st.builds(TxOut, value=st.integers(-(2**63), 2**63 - 1), script=st.binary(max_size=300))
transactions = st.builds(
    Transaction,
    version=uint32,
    inputs=st.lists(inputs, min_size=1, max_size=4),
    outputs=st.lists(outputs, max_size=4),
    lock_time=uint32,
)
headers = st.builds(
    Header,
    version=st.integers(-(2**31), 2**31 - 1),
    previous=hashes,
    merkle_root=hashes,
    time=uint32,
    bits=uint32,
    nonce=uint32,
)
blocks = st.builds(Block, header=headers, transactions=st.lists(transactions, max_size=4))
