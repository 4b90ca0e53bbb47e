"""Genesis blocks, made like Bitcoin's."""

from chain.consensus.params import Params
from chain.primitives.block import Block, Header
from chain.primitives.merkle import merkle_root
from chain.primitives.numbers import NULL_HASH, NULL_OUTPOINT
from chain.primitives.script import push
from chain.primitives.transaction import Transaction, TxIn, TxOut


def genesis_block(params: Params) -> Block:
    """Return block 0 of a network; its work is not checked (Bitcoin: CreateGenesisBlock)."""
    script_sig = b"\x04\xff\xff\x00\x1d\x01\x04" + push(params.genesis_message.encode("ascii"))
    coinbase = Transaction(
        version=1,
        inputs=[TxIn(NULL_OUTPOINT, script_sig)],
        outputs=[TxOut(params.genesis_value, params.genesis_script)],
    )
    header = Header(
        version=1,
        previous=NULL_HASH,
        merkle_root=merkle_root([coinbase.txid])[0],
        time=params.genesis_time,
        bits=params.genesis_bits,
        nonce=params.genesis_nonce,
    )
    return Block(header, [coinbase])
