"""Bitcoin Core's consensus engine (py-bitcoinkernel) behind the question that the tests ask."""

import re
from pathlib import Path
from typing import Self

import pbk

from tests.differential.verdict import Verdict

_CHECKED = re.compile(r"BlockChecked: block hash=([0-9a-f]{64}) state=(.*)")
_ACCEPTED = "Valid"


class Oracle:
    """A regtest chain inside Bitcoin Core's kernel.

    The kernel tells reasons in its log only, one `BlockChecked` line for each block that it
    finished with; and only if somebody registered for that event.
    """

    def __init__(self, folder: Path) -> None:
        self._checked: list[tuple[str, str]] = []
        pbk.enable_log_category(pbk.LogCategory.VALIDATION)
        pbk.set_log_level_category(pbk.LogCategory.VALIDATION, pbk.LogLevel.DEBUG)
        self._log = pbk.LoggingConnection(self._read)
        callbacks = pbk.ValidationInterfaceCallbacks(block_checked=_ignore)
        self._manager = pbk.load_chainman(folder, pbk.ChainType.REGTEST, callbacks)
        self._chain = self._manager.get_active_chain()

    def feed(self, raw: bytes) -> Verdict:
        """Offer a block, and return what Core says to it.

        Refused without a reason: the bytes are no block, or this block is right as far as Core
        looked, but an earlier one of its branch failed in the reorganisation that it set off.
        """
        self._checked.clear()
        try:
            block = pbk.Block(raw)
        except (RuntimeError, ValueError):
            return self._verdict(None, accepted=False)
        own_id = str(block.block_hash)
        try:
            self._manager.process_block(block)
        except pbk.ProcessBlockException:
            assert self._checked, "a refusal without a reason in the log"
        failed = [(name, state) for name, state in self._checked if state != _ACCEPTED]
        if not failed or (own_id, _ACCEPTED) in self._checked:  # a later one may have failed
            return self._verdict(None, accepted=True)
        name, state = failed[0]
        return self._verdict(state.split(", ")[0] if name == own_id else None, accepted=False)

    def feed_header(self, header: bytes) -> Verdict:
        """Offer 80 bytes of header; Core names no reason for these."""
        try:
            self._manager.process_block_header(pbk.BlockHeader(header))
        except pbk.ProcessBlockHeaderException:
            return self._verdict(None, accepted=False)
        return self._verdict(None, accepted=True)

    def close(self) -> None:
        """Let the kernel write its files and go."""
        del self._chain, self._manager, self._log

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _verdict(self, reason: str | None, *, accepted: bool) -> Verdict:
        height = self._chain.height
        tip = self._chain.block_tree_entries[height].block_hash
        return Verdict(accepted, reason, height, str(tip))

    def _read(self, line: str) -> None:
        if found := _CHECKED.search(line):
            self._checked.append((found[1], found[2].strip()))


def _ignore(_user_data: object, _block: object, _state: object) -> None:
    """Stand in for an observer: without one the kernel does not log what it checked."""
