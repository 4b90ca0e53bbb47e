"""Line ends of HTTP heads: a bare LF may stand for CRLF (RFC 9112, section 2.2).

ckpool writes such heads, and Bitcoin Core accepts them. The parser's lenient modes also accept a
bare CR, and bare LFs in chunks; so the parser stays strict, and gets a rewritten head.
"""

import re
from typing import Final

_HEAD_END: Final = re.compile(rb"\n\r?\n")
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_TAIL_BYTES: Final = 3  # CR, LF, CR: the longest incomplete end of a head


class LineEnds:
    """Rewrites heads one after the other; their bytes may arrive in pieces of any size."""

    def __init__(self) -> None:
        self.has_bare_lf = False  # whether the current head has a line yet
        self._is_begun = False
        self._tail = b""  # line ends at the end of the previous piece

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the head's part of `data`, with CRLF line ends, and the bytes after the head.

        Empty lines before a head are left out, as any parser does.
        """
        if not self._is_begun:
            data = data.lstrip(b"\r\n")
            if not data:
                return b"", b""
            self._is_begun, self.has_bare_lf, self._tail = True, False, b""
        window = self._tail + data
        found = _HEAD_END.search(window)
        end = len(window) if found is None else found.end()
        written = _BARE_LF.sub(b"\r\n", window[:end])
        self.has_bare_lf |= len(written) > end
        part = written[len(self._tail) :]
        self._is_begun = found is None
        self._tail = written[len(written.rstrip(b"\r\n")) :][-_TAIL_BYTES:]
        return part, window[end:]
