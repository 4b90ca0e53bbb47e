"""groat behind the same question as the oracle."""

import io
import time
from typing import Self

from chain.consensus.errors import InvalidError
from chain.consensus.params import REGTEST
from chain.ledger.ledger import Ledger
from chain.ledger.offline.importing import MALFORMED, import_verdicts
from chain.primitives.block import decode_block, decode_header
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

    def feed(self, raw: bytes) -> Verdict:
        """Offer a block, and return what groat says to it."""
        return self._add(raw) if self._directly else self._import(raw)

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
        return self._verdict(None, accepted=result.error is None)

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


class _Pipe(io.BytesIO):
    """A stream that is filled again whenever it has been read to its end."""

    def fill(self, data: bytes) -> None:
        self.seek(0)
        self.truncate()
        self.write(data)
        self.seek(0)


def _now() -> int:
    return int(time.time())
