"""`groat check`: rebuilds the ledger from its blocks, and compares the two row by row."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from chain.consensus.entry import BlockTreeEntry
from chain.consensus.params import Params
from chain.consensus.subsidy import supply_after
from chain.ledger.db.engine import (
    file_problems,
    open_engine,
    read_keys,
    read_rows,
    stream_rows,
)
from chain.ledger.db.exclusion import ExclusionError, read_excluded
from chain.ledger.db.failures import first_read_failure
from chain.ledger.db.header_pages import compare_pages, compare_pages_ahead, read_pages
from chain.ledger.db.loading import sum_coins
from chain.ledger.db.lock import FileLock
from chain.ledger.db.meta import read_meta
from chain.ledger.db.records import block_checksum
from chain.ledger.db.schema import HeaderStatus
from chain.ledger.db.url import Database, database_file, is_in_memory, shown_url
from chain.ledger.errors import DamagedError, LedgerError
from chain.ledger.header_columns import pages_below
from chain.ledger.header_store import HELD_BLOCKS
from chain.ledger.ledger import Ledger
from chain.ledger.migrate import check_schema
from chain.ledger.offline.comparing import TABLES, compare_table
from chain.ledger.outcomes import Verdict
from chain.primitives.block import Block, Header, decode_block, decode_header
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32, id_text
from chain.temporary_folder import temporary_folder

PROBLEMS_MAX: Final = 1_000  # described; the rest is only counted
_NOW: Final = 1 << 32  # after any header's time: the time rule was applied when the block arrived


@dataclass(slots=True)
class CheckResult:
    """The result of a check."""

    height: int = 0
    blocks: int = 0
    transactions: int = 0
    coins: int = 0
    supply: int = 0  # total value of the coins in grains
    problems: list[str] = field(default_factory=list)
    problem_count: int = 0

    def report(self, problem: str) -> None:
        """Add one problem."""
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)


def check_ledger(
    database: Database,
    params: Params,
    *,
    verify_threads: int,
    folder: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> CheckResult:
    """Compare a ledger on disk, which must not be in use, with one rebuilt from its blocks.

    The rebuilt ledger is kept in a folder beside it meanwhile, and takes as much space. One on a
    server may be in use: what is compared is as of one commit; the other is kept in `folder`.
    `progress` is called with the number of blocks added. Raises LedgerError: locked, of another
    network or a newer groat, or no ledger. Damage does not raise; the result describes it.
    """
    file = database_file(database)
    if is_in_memory(database) or (file is not None and not file.is_file()):
        raise LedgerError(f"there is no ledger in a file at {shown_url(database)}")
    result = CheckResult()
    with ExitStack() as stack:
        if file is not None:
            stack.callback(FileLock(file).release)
            folder = file.parent
        engine = open_engine(database, read_only=True)
        stack.callback(engine.dispose)
        beside = stack.enter_context(temporary_folder("check-", folder))
        try:
            old = stack.enter_context(engine.connect())
            check_schema(old)
            new_file = beside / "ledger.sqlite"
            _Check(old, new_file, params, result).run(verify_threads, progress or _quiet)
        except SQLAlchemyError as error:
            failure = first_read_failure(engine, error)
            if file is None and not isinstance(failure, DamagedError):
                raise failure from error
            result.report(f"the database cannot be read: {error.__cause__ or error}")
        except DamagedError as error:
            result.report(str(error))
    return result


class _Check:
    """One check: the ledger, the file of the rebuilt one, and the problems found."""

    def __init__(
        self, old: Connection, new_file: Path, params: Params, result: CheckResult
    ) -> None:
        self._old = old
        self._new_file = new_file
        self._params = params
        self._result = result

    def run(self, verify_threads: int, progress: Callable[[int], None]) -> None:
        """Run every check, the fast ones first. Raises DamagedError, SQLAlchemyError."""
        meta = read_meta(self._old, self._params)
        if meta is None:
            raise DamagedError("the table meta of the ledger is empty")
        for problem in file_problems(self._old):
            self._result.report(f"the database file: {problem}")
        self._check_pages()
        if sum_coins(self._old) != meta.coins:
            self._result.report("coins: the table has other sums than were written")
        tip = self._rebuild(verify_threads, progress)
        if tip.id != meta.tip:
            self._result.report(f"the tip is {id_text(meta.tip)}, but should be {id_text(tip.id)}")
        self._result.height = tip.height
        self._compare()
        self._check_supply()

    def _check_pages(self) -> None:
        try:
            pages = read_pages(self._old)
            [(height,)] = read_rows(self._old, "SELECT max(height) FROM chain", (), (int,))
            border = min(pages_below(height, HELD_BLOCKS), len(pages))
            compare_pages(self._old, None, 0, pages[:border])
            before = pages[border - 1] if border else None
            compare_pages_ahead(self._old, before, border, pages[border:])
        except DamagedError as error:
            self._result.report(str(error))

    def _rebuild(self, verify_threads: int, progress: Callable[[int], None]) -> BlockTreeEntry:
        new = Ledger(self._new_file, self._params, verify_threads=verify_threads)
        try:
            self._add_headers(new)
            for verdict in new.add_blocks(self._stored_blocks(), _NOW):
                self._count(verdict)
                progress(self._result.blocks)
            self._prefer_tip(new)  # so that no equal branch is connected only to be excluded
            self._exclude(new)
            self._prefer_tip(new)
            return new.tip
        finally:
            new.close()

    def _exclude(self, new: Ledger) -> None:
        """Exclude from the rebuilt ledger the blocks that the user excluded from the old one.

        One that cannot be excluded is a problem: in the old ledger another branch was followed.
        """
        for block_id in read_excluded(self._old):
            entry = new.tree.get(block_id)
            if entry is None:
                continue  # it was found invalid as well
            try:
                new.invalidate(entry)
            except ExclusionError as error:
                self._result.report(f"block {id_text(block_id)} cannot be excluded again: {error}")

    def _prefer_tip(self, new: Ledger) -> None:
        """Follow the old ledger's tip among equals: the user may have marked it as precious."""
        query = "SELECT id FROM chain ORDER BY height DESC LIMIT 1"
        for (block_id,) in read_rows(self._old, query):
            entry = new.tree.get(block_id)
            if entry is not None:
                new.mark_precious(entry)

    def _add_headers(self, new: Ledger) -> None:
        query = "SELECT id, raw, status FROM headers WHERE height > 0 ORDER BY number"
        for rows in stream_rows(self._old, query):
            headers: list[tuple[bytes, Header]] = []
            for block_id, raw, status in rows:
                if status == HeaderStatus.INVALID:
                    continue  # its body is gone, so it cannot be validated
                try:
                    headers.append((block_id, decode_header(raw)))
                except (DecodeError, TypeError) as error:
                    self._result.report(f"header {_shown(block_id)} is damaged: {error}")
            while headers:
                taken = new.add_headers([header for _, header in headers], _NOW)
                if taken.error is not None:
                    block_id, _ = headers[taken.accepted]
                    self._result.report(f"header {_shown(block_id)} breaks a rule: {taken.error}")
                del headers[: taken.accepted + 1]

    def _stored_blocks(self) -> Iterator[Block]:
        """Yield the stored blocks in the order in which they became complete."""
        query = (
            "SELECT h.id FROM blocks b JOIN headers h ON h.id = b.id"
            " ORDER BY h.sequence IS NULL, h.sequence, h.number"
        )
        for (block_id,) in read_rows(self._old, query):
            body = "SELECT raw, checksum FROM blocks WHERE id = ?"
            rows = read_rows(self._old, body, (block_id,))
            if len(rows) != 1:
                self._result.report(f"block {_shown(block_id)} cannot be found by its id")
                continue
            [(raw, checksum)] = rows
            try:
                block = decode_block(raw)
                is_intact = block_checksum(raw) == checksum and block.id == block_id
            except (DecodeError, TypeError) as error:
                self._result.report(f"block {_shown(block_id)} is damaged: {error}")
                continue
            if is_intact:
                yield block
            else:
                self._result.report(f"block {_shown(block_id)} is damaged: it or its checksum")

    def _count(self, verdict: Verdict) -> None:
        block = verdict.block
        if verdict.error is not None:
            if self._on_best_chain([block.id]):  # the others may never have been connected
                self._result.report(f"block {id_text(block.id)} breaks a rule: {verdict.error}")
        elif verdict.result().is_new:  # genesis is not
            self._result.blocks += 1
            self._result.transactions += block.transaction_count

    def _compare(self) -> None:
        engine = open_engine(self._new_file, read_only=True)
        try:
            with engine.connect() as right:
                untried = self._untried(right)
                for table in TABLES:
                    for problem in compare_table(table, self._old, right, untried):
                        self._result.report(problem)
        finally:
            engine.dispose()

    def _untried(self, right: Connection) -> frozenset[bytes]:
        """Return the blocks that the other ledger refused and this one never connected.

        While they waited for a parent, better blocks came, which the rebuilt ledger tried first.
        """
        query = "SELECT id FROM headers WHERE status = ?"
        refused = [block_id for (block_id,) in read_rows(right, query, (HeaderStatus.INVALID,))]
        return frozenset(refused) - self._on_best_chain(refused)

    def _on_best_chain(self, block_ids: list[Hash32]) -> set[Hash32]:
        rows = read_keys(self._old, "SELECT id FROM chain WHERE id IN", block_ids)
        return {block_id for (block_id,) in rows}

    def _check_supply(self) -> None:
        query = "SELECT count(*), CAST(coalesce(sum(value), 0) AS BIGINT) FROM coins"
        [(count, total)] = read_rows(self._old, query, (), (int, int))
        self._result.coins, self._result.supply = count, total
        most = supply_after(self._result.height, self._params)
        if self._result.supply > most:
            self._result.report(
                f"coins: {self._result.supply} grains exist, but the rules allow only {most}"
            )


def _quiet(_blocks: int) -> None:
    """Ignore progress."""


def _shown(block_id: object) -> str:
    return id_text(Hash32(block_id)) if isinstance(block_id, bytes) else repr(block_id)
