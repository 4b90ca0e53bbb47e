"""A PSBT on standard input: binary, or base64 that may be wrapped over several lines."""

import base64
import binascii
from codecs import BOM_UTF8
from typing import Final

from chain.primitives.encoding import DecodeError, read_compact_size
from chain.primitives.psbt import PSBT_BYTES_MAX, PSBT_MAGIC
from chain.primitives.transaction import decode_transaction
from chain.text_file import wide_encoding
from wallet.errors import InputError
from wallet.standard_input import StandardInput

_CHARACTERS_MAX: Final = 2 * PSBT_BYTES_MAX  # base64 takes 4/3, and its line ends
_QUANTUM: Final = 4  # base64 characters that form whole bytes
_SIZE_BYTES_MAX: Final = 9
_WIDTHS: Final = {0xFD: 3, 0xFE: 5, 0xFF: 9}  # bytes of a CompactSize, by its first
_UNSIGNED_TX: Final = b"\x00"  # BIP174: PSBT_GLOBAL_UNSIGNED_TX


def read_psbt(source: StandardInput) -> bytes:
    """Return the next PSBT: its bytes, or its base64 without blanks.

    Base64 is read up to the line that ends the PSBT; later lines stay unread (a password may
    follow, behind blank ones). Bytes reach to the end of input. Raises InputError: longer than a
    PSBT may be, or UTF-16.
    """
    parts: list[bytes] = []
    size, end = 0, _End()
    while size <= _CHARACTERS_MAX:
        raw = source.raw_line("PSBT", _CHARACTERS_MAX)
        if not parts:
            check_encoding(raw)
            raw = raw.removeprefix(BOM_UTF8)
        if not parts and raw.startswith(PSBT_MAGIC):
            return raw + source.rest(_CHARACTERS_MAX)
        part = b"".join(raw.split())
        parts.append(part)
        size += len(part)
        if not raw or end.is_reached(part):
            if not source.is_terminal:
                source.skip_blank_lines()  # a password is behind them, if anything
            return b"".join(parts)
    raise InputError(f"PSBT: more than {_CHARACTERS_MAX} characters")


def check_encoding(data: bytes) -> None:
    """Refuse base64 of two or four bytes a character. Raises InputError."""
    problem = None if data.startswith(PSBT_MAGIC) else wide_encoding(data)
    if problem is not None:
        raise InputError(f"not a PSBT: {problem}")


class _End:
    """Finds the end of a PSBT that arrives in parts of base64, parsing every field once."""

    def __init__(self) -> None:
        self._left = b""  # characters that do not form whole bytes yet
        self._data = bytearray()
        self._at = len(PSBT_MAGIC)
        self._maps_left: int | None = None  # None: still in the global map

    def is_reached(self, part: bytes) -> bool:
        """Return whether the PSBT ends here or is invalid; the decoder reports the error."""
        text = self._left + part
        whole = len(text) - len(text) % _QUANTUM
        self._left = text[whole:]
        try:
            self._data += base64.b64decode(text[:whole], validate=True)
            if not PSBT_MAGIC.startswith(self._data[: len(PSBT_MAGIC)]):
                return True
            while self._maps_left != 0:
                if not self._take_field():
                    return False
        except (binascii.Error, DecodeError):
            return True
        return True

    def _take_field(self) -> bool:
        """Step over the next field or separator; return whether it is complete."""
        key_size, key_at = self._size(self._at)
        if key_size is None:
            return False
        if key_size == 0:
            self._maps_left = (self._maps_left or 0) - 1
            self._at = key_at
            return self._maps_left >= 0  # below: a global map without a transaction
        value_size, value_at = self._size(key_at + key_size)
        if value_size is None or value_at + value_size > len(self._data):
            return False
        end = value_at + value_size
        key = bytes(self._data[key_at : key_at + key_size])
        if self._maps_left is None and key == _UNSIGNED_TX:
            transaction = decode_transaction(bytes(self._data[value_at:end]))
            self._maps_left = len(transaction.inputs) + len(transaction.outputs) + 1
        self._at = end
        return True

    def _size(self, at: int) -> tuple[int | None, int]:
        """Return the CompactSize at `at` and the offset after it; None: it is incomplete."""
        head = bytes(self._data[at : at + _SIZE_BYTES_MAX])
        if not head or len(head) < _WIDTHS.get(head[0], 1):
            return None, at
        size, width = read_compact_size(head, 0)
        return size, at + width
