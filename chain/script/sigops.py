"""The cost of a transaction's signature operations, which counts towards a block's limit."""

from collections.abc import Sequence
from typing import Final

from chain.primitives.script import count_sigops, is_p2sh, last_push, witness_program
from chain.primitives.transaction import WITNESS_SCALE, Transaction, TxIn
from chain.script.hashes import SpentOutput

_KEY_HASH_BYTES: Final = 20
_SCRIPT_HASH_BYTES: Final = 32


def sigops_cost(transaction: Transaction, coins: Sequence[SpentOutput]) -> int:
    """Return the cost of all signature operations of a transaction that spends `coins` (BIP141).

    `coins` are empty for a coinbase. Those in scripts without witness cost four, even if they never
    run; those of an output script count where it is created (Bitcoin: GetTransactionSigOpCost).
    """
    cost = transaction.sigops * WITNESS_SCALE
    for txin, coin in zip(transaction.inputs if coins else (), coins, strict=True):
        script = coin.script
        if len(script) == 22 and script.startswith(b"\x00\x14"):
            cost += 1  # P2WPKH, the usual case
        else:
            cost += _input_cost(txin, script)
    return cost


def _input_cost(txin: TxIn, script: bytes) -> int:
    program = witness_program(script)
    if program is not None:
        return _witness_cost(program, txin.witness)
    if not is_p2sh(script):
        return 0
    redeem_script = last_push(txin.script_sig)
    if redeem_script is None:
        return 0
    cost = count_sigops(redeem_script, accurate=True) * WITNESS_SCALE
    wrapped = witness_program(redeem_script)
    return cost if wrapped is None else cost + _witness_cost(wrapped, txin.witness)


def _witness_cost(program: tuple[int, bytes], witness: Sequence[bytes]) -> int:
    """Return the count of an input's witness program (Bitcoin: WitnessSigOps)."""
    version, data = program
    if version == 0 and len(data) == _KEY_HASH_BYTES:
        return 1
    if version == 0 and len(data) == _SCRIPT_HASH_BYTES and witness:
        return count_sigops(witness[-1], accurate=True)
    return 0
