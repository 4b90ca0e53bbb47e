"""groat behind the same question as the oracle."""

import io
import time
from collections.abc import Iterable
from contextlib import closing
from itertools import groupby
from typing import Self

from chain.consensus.errors import InvalidError
from chain.consensus.params import REGTEST
from chain.ledger.ledger import Ledger
from chain.ledger.offline.importing import MALFORMED, import_verdicts
from chain.primitives.block import HEADER_BYTES, decode_block, decode_header
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import id_text
from tests.differential.verdict import Verdict


class Subject:
    """A regtest ledger in memory that gives verdicts as `groat import --verdicts` does.

    Or, with `directly`, one that takes blocks as a node does, each in a transaction of its own. It
    goes by the clock of this machine, since the kernel does.
    """

    def __init__(self, *, directly: bool = False) -> None:
        self.ledger = Ledger("sqlite://", REGTEST, verify_threads=1)
        self._directly = directly
        self._pipe = _Pipe()
        self._verdicts = import_verdicts(self.ledger, self._pipe, _now)
        self._heard: list[tuple[bytes, int, Verdict]] = []  # with the time

    def feed(self, raw: bytes) -> Verdict:
        """Offer a block, and return what groat says to it."""
        verdict = self._add(raw) if self._directly else self._import(raw)
        self._heard.append((raw, _now(), verdict))
        return verdict

    def repeat(self) -> None:
        """Offer everything again to a ledger that connects small blocks together, and compare."""
        with closing(Ledger("sqlite://", REGTEST, verify_threads=2)) as ledger:
            is_header = lambda heard: len(heard[0]) == HEADER_BYTES  # noqa: E731
            for are_headers, group in groupby(self._heard, is_header):
                if are_headers:
                    for raw, now, _ in group:
                        ledger.add_headers([decode_header(raw)], now)
                else:
                    _repeat_blocks(ledger, group)
            assert ledger.tip.id == self.ledger.tip.id

    def _add(self, raw: bytes) -> Verdict:
        try:
            self.ledger.add_block(decode_block(raw), _now())
        except DecodeError:
            return self._verdict(None, accepted=False)
        except InvalidError as error:
            return self._verdict(error.reject_reason, accepted=False)
        return self._verdict(None, accepted=True)

    def _import(self, raw: bytes) -> Verdict:
        self._pipe.fill(REGTEST.magic + len(raw).to_bytes(4, "little") + raw)
        said = next(self._verdicts)
        reason = None if said.reason == MALFORMED else said.reason
        return Verdict(said.accepted, reason, said.height, id_text(said.tip))

    def feed_header(self, header: bytes) -> Verdict:
        """Offer 80 bytes of header."""
        result = self.ledger.add_headers([decode_header(header)], _now())
        verdict = self._verdict(None, accepted=result.error is None)
        self._heard.append((header, _now(), verdict))
        return verdict

    def close(self) -> None:
        self._verdicts.close()
        self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _verdict(self, reason: str | None, *, accepted: bool) -> Verdict:
        tip = self.ledger.tip
        return Verdict(accepted, reason, tip.height, id_text(tip.id))


def _repeat_blocks(ledger: Ledger, heard: Iterable[tuple[bytes, int, Verdict]]) -> None:
    blocks, times, said = [], [], []
    for raw, now, verdict in heard:
        try:
            blocks.append(decode_block(raw))
        except DecodeError:
            continue
        times.append(now)
        said.append((verdict.accepted, verdict.reason))
    clock = iter(times)
    again = [
        (v.error is None, v.error and v.error.reject_reason)
        for v in ledger.add_blocks(blocks, lambda: next(clock))
    ]
    assert again == said


class _Pipe(io.BytesIO):
    """A stream that is filled again whenever it has been read to its end."""

    def fill(self, data: bytes) -> None:
        self.seek(0)
        self.truncate()
        self.write(data)
        self.seek(0)


def _now() -> int:
    return int(time.time())
