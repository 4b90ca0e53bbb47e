"""The bytes of a transaction without its witnesses, found without making objects of its parts."""

from typing import Final

_MARKER_AND_FLAG: Final = b"\x00\x01"  # BIP144
_INPUTS_START: Final = 7  # after the version, these two, and a count of one byte
_INPUT_BYTES: Final = 41  # with an empty script
_SCRIPT_SIZE: Final = 8  # its offset in an output, after the value


def witness_base(raw: bytes) -> bytes | None:
    """Return the bytes whose hash is the txid of a transaction that spends by witnesses alone.

    That is nearly every transaction. For another one, or other bytes, they are any bytes or None:
    the caller compares their hash with a txid, and if it differs, decodes the transaction.
    """
    if raw[4:6] != _MARKER_AND_FLAG:
        return None
    try:
        at = _INPUTS_START + _INPUT_BYTES * raw[_INPUTS_START - 1]
        count = raw[at]
        at += 1
        for _ in range(count):
            at += _SCRIPT_SIZE + 1 + raw[at + _SCRIPT_SIZE]
    except IndexError:
        return None
    return raw[:4] + raw[6:at] + raw[-4:]
