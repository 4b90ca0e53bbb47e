"""Line ends of HTTP heads: a bare LF may stand for CRLF (RFC 9112, section 2.2).

ckpool writes its heads so, and Bitcoin Core takes them. The parser's own leniencies for that take a
bare CR too, and bare LFs in chunks; so the parser stays strict, and gets the head as it should be.
"""

import re
from typing import Final

_HEAD_END: Final = re.compile(rb"\n\r?\n")
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_TAIL_BYTES: Final = 3  # CR, LF, CR: what a head may end in that is not over


class LineEnds:
    """Rewrites one head after the other, in whatever pieces they come."""

    def __init__(self) -> None:
        self.has_bare_lf = False  # whether the head that was begun last has one
        self._is_begun = False
        self._tail = b""  # line ends that the part given last ends in

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Return what `data` has of the head, with CRLF at every line's end, and what is behind it.

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
