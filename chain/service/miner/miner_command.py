"""The terminal side of `groat mine`: login and progress."""

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from chain.errors import UsageError
from chain.mining.kernel import best_kernel
from chain.service.miner.external_miner import (
    ExternalMiner,
    ExternalMinerError,
    MiningProgress,
    SubmittedBlock,
    block_line,
    payout_script,
)
from chain.service.miner.json_rpc import (
    SECRET_BYTES_MAX,
    InvalidUrlError,
    Login,
    RpcClient,
    RpcFailure,
    cookie_login,
)

_DESCRIPTOR_MAX: Final = (1 << 31) - 1  # an int in C
_RATES = ("H/s", "kH/s", "MH/s", "GH/s", "TH/s", "PH/s")


class MinerFlagError(ExternalMinerError, UsageError):
    """A flag of `groat mine` is wrong or missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MinePlan:
    """The options of `groat mine`."""

    node: str  # URL
    address: str
    threads: int
    login: Login
    blocks_max: int | None
    as_json: bool


def login_of(user: str | None, password_fd: int | None, cookie: Path | None) -> Login:
    """Return the login that the flags give. Raises MinerFlagError."""
    if cookie is not None:
        if user is not None or password_fd is not None:
            raise MinerFlagError("--cookie excludes --user and --password-fd: give one login")
        return cookie_login(cookie)
    if user is None or password_fd is None:
        raise MinerFlagError("a login is needed: --cookie FILE, or --user and --password-fd")
    if not 0 <= password_fd <= _DESCRIPTOR_MAX:
        raise MinerFlagError(f"--password-fd {password_fd}: no such file descriptor is open")
    try:
        with os.fdopen(password_fd, encoding="utf-8-sig") as file:
            password = file.readline(SECRET_BYTES_MAX).rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        if isinstance(error, OSError) and error.errno == errno.EBADF:
            reason = "no such file descriptor is open"
        raise MinerFlagError(f"--password-fd {password_fd}: {reason}") from error
    return lambda: (user, password)


def mine(plan: MinePlan) -> None:
    """Mine until SIGINT, SIGTERM or the requested number of blocks. Raises ExternalMinerError."""
    with ExitStack() as failed:
        try:
            rpc = RpcClient(plan.node, plan.login)
            failed.callback(rpc.close)
            script = payout_script(rpc, plan.address)
        except InvalidUrlError as error:
            raise MinerFlagError(str(error)) from error
        except RpcFailure as error:
            raise ExternalMinerError(str(error)) from error
        failed.pop_all()  # from here on, threads may be using it until the process ends
    miner = ExternalMiner(rpc, script, best_kernel(), plan.threads)
    console = Console(stderr=True, highlight=False)
    live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
    show: AbstractContextManager[object] = nullcontext() if live is None else live
    on_tick = progress_display(console, live, miner.figures)
    for number in (signal.SIGINT, signal.SIGTERM):  # a background job may ignore SIGINT
        signal.signal(number, _interrupt)
    with show, suppress(KeyboardInterrupt):
        miner.run(_printer(miner, as_json=plan.as_json), on_tick, plan.blocks_max)


def progress_display(
    console: Console, live: Live | None, figures: MiningProgress
) -> Callable[[], None]:
    """Return a function that shows the figures, and each new problem in full on its own line."""
    last_problem = _LastProblem()

    def report() -> None:
        if last_problem.is_new(figures.problem):
            console.print(f"groat: {figures.problem}", markup=False, soft_wrap=True)
        if live is not None:
            live.update(Text(status_line(figures), no_wrap=True, overflow="ellipsis"))

    return report


class _LastProblem:
    """Remembers the last problem, so that each is shown once."""

    def __init__(self) -> None:
        self._last = ""

    def is_new(self, problem: str) -> bool:
        is_new = problem != self._last
        self._last = problem
        return is_new and problem != ""


def status_line(figures: MiningProgress) -> str:
    """Return the terminal's status line."""
    parts = [f"block {figures.height}", rate_text(figures.hashes_per_second)]
    if figures.share is not None:
        parts.append(f"{100 * figures.share:.3g} % of the network")
    parts += [f"{figures.accepted} accepted", f"{figures.rejected} rejected"]
    if figures.stale:
        parts.append(f"{figures.stale} too late")
    if figures.problem:
        parts.append(figures.problem)
    return " · ".join(parts)


def rate_text(per_second: float) -> str:
    """Return hashes a second in a unit that suits them."""
    for unit in _RATES:
        if per_second < 1000:
            return f"{per_second:.1f} {unit}"
        per_second /= 1000
    return f"{per_second:.1f} EH/s"


def _printer(miner: ExternalMiner, *, as_json: bool) -> Callable[[SubmittedBlock], None]:
    def print_block(handed: SubmittedBlock) -> None:
        line = block_line(handed, miner.figures)
        if as_json:
            text = json.dumps(line)
        else:
            verdict = "accepted" if handed.problem is None else f"rejected: {handed.problem}"
            text = f"block {handed.height} {line['hash']} {verdict}"
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    return print_block


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
