"""Memory in which compiled code cannot read or write behind the end unnoticed."""

import ctypes
import mmap


class GuardedMemory:
    """Memory that ends where a forbidden page begins: a read or write behind it is a crash."""

    def __init__(self):
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._maps = []

    def __call__(self, content):
        """Return zeros, so many of them; or a copy of bytes."""
        size = content if isinstance(content, int) else len(content)
        pages = -(-size // mmap.PAGESIZE)
        area = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
        self._maps.append(area)
        start = ctypes.addressof(ctypes.c_char.from_buffer(area))
        forbidden = ctypes.c_void_p(start + pages * mmap.PAGESIZE)
        assert self._libc.mprotect(forbidden, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
        place = (ctypes.c_char * size).from_address(start + pages * mmap.PAGESIZE - size)
        if not isinstance(content, int):
            place.raw = content
        return place

    def free(self):
        self._maps.clear()
