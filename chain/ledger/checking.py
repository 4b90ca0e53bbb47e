"""`groat check`: build the ledger again from its blocks, and compare the two row by row."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from chain.consensus.errors import InvalidError
from chain.consensus.params import Params
from chain.consensus.subsidy import supply_after
from chain.ledger.comparing import TABLES, compare_table
from chain.ledger.engine import database_file, file_problems, open_engine, read_rows, stream_rows
from chain.ledger.errors import DamagedError, LedgerError
from chain.ledger.ledger import Ledger
from chain.ledger.loading import sum_coins
from chain.ledger.lock import FileLock
from chain.ledger.meta import read_meta
from chain.ledger.migrate import check_schema
from chain.ledger.records import block_checksum
from chain.ledger.schema import Status
from chain.primitives.block import Block, decode_block, decode_header
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32, id_text

PROBLEMS_MAX: Final = 1_000  # told in words; the rest is counted
_NOW: Final = 1 << 32  # after any header's time: the clock's rule was applied when the block came


@dataclass(slots=True)
class CheckResult:
    """What a check found."""

    height: int = 0
    blocks: int = 0
    transactions: int = 0
    coins: int = 0
    supply: int = 0  # grains in coins
    problems: list[str] = field(default_factory=list)
    problem_count: int = 0

    def report(self, problem: str) -> None:
        """Add one problem."""
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)


def check_ledger(
    url: str,
    params: Params,
    *,
    verify_threads: int,
    progress: Callable[[int], None] | None = None,
) -> CheckResult:
    """Compare a ledger on disk that no one uses with one built anew from its blocks.

    The other is kept in a folder beside it meanwhile, and takes as much space. `progress` is told
    how many blocks were added. Raises LedgerError: locked, of another network, of a later groat, no
    ledger at all. Damage is not raised but told in the result.
    """
    file = database_file(url)
    if file is None or not file.is_file():
        raise LedgerError(f"there is no ledger in a file at {url}")
    result = CheckResult()
    with ExitStack() as stack:
        stack.callback(FileLock(file).release)
        engine = open_engine(url, read_only=True)
        stack.callback(engine.dispose)
        folder = stack.enter_context(TemporaryDirectory(prefix="check-", dir=file.parent))
        try:
            old = stack.enter_context(engine.connect())
            check_schema(old)
            _check(old, Path(folder), params, result, verify_threads, progress)
        except SQLAlchemyError as error:
            result.report(f"the database cannot be read: {error.__cause__ or error}")
        except DamagedError as error:
            result.report(str(error))
    return result


def _check(  # noqa: PLR0913, PLR0917 - the parts of one check, in order
    old: Connection,
    folder: Path,
    params: Params,
    result: CheckResult,
    verify_threads: int,
    progress: Callable[[int], None] | None,
) -> None:
    meta = read_meta(old, params)
    if meta is None:
        raise DamagedError("the ledger has no facts about itself")
    for problem in file_problems(old):
        result.report(f"the database file: {problem}")
    if sum_coins(old) != meta.coins:
        result.report("coins: the table does not sum up to what was written")
    new = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}", params, verify_threads=verify_threads)
    try:
        with new.batch():
            _add_headers(old, new, result)
            for block in _stored_blocks(old, result):
                _add_block(new, block, result)
                if progress is not None:
                    progress(result.blocks)
        result.height = new.tip.height
        _compare(old, folder, result)
        if new.tip.id != meta.tip:
            result.report(f"the tip is {id_text(meta.tip)}, but should be {id_text(new.tip.id)}")
    finally:
        new.close()
    _check_supply(old, params, result)


def _add_headers(old: Connection, new: Ledger, result: CheckResult) -> None:
    query = "SELECT id, raw, status FROM headers WHERE height > 0 ORDER BY number"
    for rows in stream_rows(old, query):
        for block_id, raw, status in rows:
            if status == Status.INVALID:
                continue  # its body is gone, so there is nothing to judge it by
            try:
                error = new.add_headers([decode_header(raw)], _NOW).error
            except (DecodeError, TypeError) as malformed:
                result.report(f"header {_shown(block_id)} is damaged: {malformed}")
                continue
            if error is not None:
                result.report(f"header {_shown(block_id)} breaks a rule: {error}")


def _stored_blocks(old: Connection, result: CheckResult) -> Iterator[Block]:
    """Yield the stored blocks in the order in which they once became complete."""
    ids = read_rows(
        old,
        "SELECT h.id, h.sequence FROM blocks b LEFT JOIN headers h ON h.id = b.id"
        " WHERE h.height > 0 ORDER BY h.sequence IS NULL, h.sequence, h.number",
    )
    for block_id, _ in ids:
        [(raw, checksum)] = read_rows(
            old, "SELECT raw, checksum FROM blocks WHERE id = ?", (block_id,)
        )
        try:
            if block_checksum(raw) != checksum:
                result.report(f"block {_shown(block_id)} is damaged: wrong checksum")
                continue
            block = decode_block(raw)
        except (DecodeError, TypeError) as malformed:
            result.report(f"block {_shown(block_id)} is damaged: {malformed}")
            continue
        if block.id != block_id:
            result.report(f"block {_shown(block_id)} is really {id_text(block.id)}")
            continue
        yield block


def _add_block(new: Ledger, block: Block, result: CheckResult) -> None:
    try:
        new.add_block(block, _NOW)
    except InvalidError as error:
        result.report(f"block {id_text(block.id)} breaks a rule: {error}")
    else:
        result.blocks += 1
        result.transactions += len(block.transactions)


def _compare(old: Connection, folder: Path, result: CheckResult) -> None:
    engine = open_engine(f"sqlite:///{folder / 'ledger.sqlite'}", read_only=True)
    try:
        with engine.connect() as right:
            for table in TABLES:
                for problem in compare_table(table, old, right):
                    result.report(problem)
    finally:
        engine.dispose()


def _check_supply(old: Connection, params: Params, result: CheckResult) -> None:
    [(count, total)] = read_rows(old, "SELECT count(*), sum(value) FROM coins")
    result.coins, result.supply = count, int(total or 0)
    most = supply_after(result.height, params)
    if result.supply > most:
        result.report(f"coins: {result.supply} grains exist, but {most} is the most there can be")


def _shown(block_id: Any) -> str:  # noqa: ANN401 - damaged values have any type
    return id_text(Hash32(block_id)) if isinstance(block_id, bytes) else repr(block_id)
