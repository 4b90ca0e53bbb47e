"""The types of output scripts that Bitcoin Core's policy and its JSON know."""

from enum import StrEnum
from typing import Final

from chain.primitives.script import (
    OP_CHECKSIG,
    OP_RETURN,
    is_anchor,
    is_key_form,
    is_multisig,
    is_p2pkh,
    is_p2sh,
    last_push,
    witness_program,
)


class OutputType(StrEnum):
    """The type of an output script; the text is Core's (GetTxnOutputType)."""

    NONSTANDARD = "nonstandard"
    ANCHOR = "anchor"
    PUBKEY = "pubkey"
    PUBKEYHASH = "pubkeyhash"
    SCRIPTHASH = "scripthash"
    MULTISIG = "multisig"
    NULL_DATA = "nulldata"
    WITNESS_V0_KEYHASH = "witness_v0_keyhash"
    WITNESS_V0_SCRIPTHASH = "witness_v0_scripthash"
    WITNESS_V1_TAPROOT = "witness_v1_taproot"
    WITNESS_UNKNOWN = "witness_unknown"


_BY_PROGRAM: Final = {  # version and size of the program
    (0, 20): OutputType.WITNESS_V0_KEYHASH,
    (0, 32): OutputType.WITNESS_V0_SCRIPTHASH,
    (1, 32): OutputType.WITNESS_V1_TAPROOT,
}


def output_type(script: bytes) -> OutputType:
    """Return the type of an output script (Bitcoin: Solver)."""
    program = witness_program(script)
    if program is not None:
        return _program_type(script, *program)
    if is_p2sh(script):
        return OutputType.SCRIPTHASH
    if is_p2pkh(script):
        return OutputType.PUBKEYHASH
    if script[:1] == bytes([OP_RETURN]):
        is_data = last_push(script[1:]) is not None
        return OutputType.NULL_DATA if is_data else OutputType.NONSTANDARD
    if _is_p2pk(script):
        return OutputType.PUBKEY
    return OutputType.MULTISIG if is_multisig(script) else OutputType.NONSTANDARD


def _program_type(script: bytes, version: int, program: bytes) -> OutputType:
    known = _BY_PROGRAM.get((version, len(program)))
    if known is not None:
        return known
    if is_anchor(script):
        return OutputType.ANCHOR
    return OutputType.WITNESS_UNKNOWN if version else OutputType.NONSTANDARD


def _is_p2pk(script: bytes) -> bool:
    """Return whether a script is a public key and OP_CHECKSIG (Bitcoin: MatchPayToPubkey)."""
    if len(script) not in {35, 67} or script[0] != len(script) - 2 or script[-1] != OP_CHECKSIG:
        return False
    return is_key_form(script[1:-1])
