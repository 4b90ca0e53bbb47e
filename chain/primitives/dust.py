"""Dust: outputs that would cost more to spend than they hold; nodes do not relay them."""

from typing import Final

from chain.primitives.encoding import with_size
from chain.primitives.numbers import Amount
from chain.primitives.script import is_unspendable, witness_program

_RATE: Final = 3  # grains per vbyte (Bitcoin: DUST_RELAY_TX_FEE)
_VALUE_BYTES: Final = 8
_INPUT_VBYTES: Final = 148  # to spend it with a signature and a key in the script
_WITNESS_INPUT_VBYTES: Final = 67  # in the witness


def dust_threshold(script: bytes) -> Amount:
    """Return the least value of an output to `script` that is no dust.

    0 if it can never be spent (Bitcoin: GetDustThreshold).
    """
    if is_unspendable(script):
        return Amount(0)
    size = _VALUE_BYTES + len(with_size(script))
    is_witness = witness_program(script) is not None
    return Amount(_RATE * (size + (_WITNESS_INPUT_VBYTES if is_witness else _INPUT_VBYTES)))
