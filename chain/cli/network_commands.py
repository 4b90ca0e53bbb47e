"""`groat network`: makes networks of one's own, and shows networks."""

import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from chain.cli.command_output import failing, show, write_error
from chain.errors import UsageError
from chain.help_text import COMMON_FLAGS
from chain.network_file import network_names
from chain.primitives.numbers import coins_text
from chain.usage import Command, Group

if TYPE_CHECKING:
    from chain.consensus.params import Params
    from chain.new_network import NetworkPlan

network_app = typer.Typer(
    cls=Group, no_args_is_help=True, help="Make a network of your own, and show networks."
)
_AMOUNT: Final = re.compile(r"(\d{1,9})(?:\.(\d{1,8}))?", re.ASCII)
_WHOLE: Final = re.compile(r"-?\d{1,12}", re.ASCII)
_COMPILED_FROM: Final = 500_000  # hashes; fewer take less time than compiling the search
_FILE_MODE: Final = 0o644  # it is given to others
Name = Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits and _.")]
NetworkFile = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A network file, or a built-in network's name.",
        autocompletion=network_names,
    ),
]


@network_app.command(cls=Command)
def new(  # noqa: PLR0913
    *,
    name: Name,
    spacing: Annotated[
        str | None, typer.Option(metavar="SECONDS", help="Between blocks; default 60.")
    ] = None,
    subsidy: Annotated[
        str | None, typer.Option(metavar="COINS", help="Each block's reward; default 10.")
    ] = None,
    halving: Annotated[
        str | None,
        typer.Option(
            metavar="BLOCKS",
            help="Halve the reward; default four years, or less for at most 21 million coins.",
        ),
    ] = None,
    maturity: Annotated[
        str | None, typer.Option(metavar="BLOCKS", help="Until a reward can be spent; default 100.")
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Of addresses; default from the name.")
    ] = None,
    difficulty: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="The first; 1 is 2^32 hashes; default for 1 MH/s."),
    ] = None,
    p2p_port: Annotated[
        str | None, typer.Option(metavar="PORT", help="For peers; default by name.")
    ] = None,
    api_port: Annotated[
        str | None, typer.Option(metavar="PORT", help="For the API; default by name.")
    ] = None,
    seed: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|IP:PORT", help="Where new nodes get addresses; default none; repeatable."
        ),
    ] = None,
    coin_type: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Of SLIP-44; default 1, for tests.")
    ] = None,
    magic: Annotated[
        str | None, typer.Option(metavar="HEX", help="Four bytes; default random ones.")
    ] = None,
    message: Annotated[
        str | None, typer.Option(metavar="TEXT", help="In block 0; default name and date.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Default NAME.toml, here.")
    ] = None,
    worthless: Annotated[
        bool, typer.Option("--worthless", help="Wallets may be without a password.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: take the defaults.")] = False,
) -> None:
    """Make a network: its rules, its genesis block, and the file that everybody needs.

    What no flag says is asked for; without a terminal it gets its default.
    """
    from chain.new_network import rules_of

    given = {
        "spacing": spacing,
        "subsidy": subsidy,
        "halving": halving,
        "maturity": maturity,
        "prefix": prefix,
        "difficulty": difficulty,
        "p2p-port": p2p_port,
        "api-port": api_port,
        "seed": ",".join(seed) if seed else None,
        "coin-type": coin_type,
        "magic": magic,
        "message": message,
    }
    with failing():
        path = output or Path(f"{name}.toml")
        plan, defaults = _planned(name, given, path, asks=not yes and sys.stdin.isatty())
        params = rules_of(plan)  # before anything else is written: an error is one line
        if defaults:
            sys.stderr.write(f"groat: defaults taken: {', '.join(defaults)}\n")
        _make(plan, params, path, is_worthless=worthless)


@network_app.command(name="show", cls=Command)
def show_(
    *,
    file: NetworkFile,
    as_json: Annotated[
        bool, typer.Option("--json", help="Machine output.", rich_help_panel=COMMON_FLAGS)
    ] = False,
) -> None:
    """Show a network's rules, its genesis block and its ports."""
    from chain.new_network import described, described_lines
    from chain.settings import load_network, load_network_seeds

    with failing():
        found = described(*load_network(file), load_network_seeds(file))
        show(found if as_json else dict(described_lines(found)), as_json=as_json)


@network_app.command(cls=Command)
def nonce(*, file: NetworkFile) -> None:
    """Find the genesis_nonce of a network file whose rules were changed by hand."""
    from chain.consensus.params import NETWORKS
    from chain.network_file import load_rules
    from chain.new_network import find_nonce

    with failing():
        params = NETWORKS[file] if file in NETWORKS else load_rules(Path(file))
        kernel, work = _kernel_and_work(params.genesis_bits)
        with _searching(work) as report:
            found = find_nonce(params, kernel, report)
    if found == params.genesis_nonce:
        sys.stderr.write("groat: the network has this nonce already\n")
    sys.stdout.write(f"genesis_nonce = {found}\n")


@dataclass(frozen=True, slots=True)
class _Question:
    """One value of a plan: what is asked, the default's text, and how a text changes the plan."""

    text: str
    default: Callable[["NetworkPlan"], str]
    changed: Callable[["NetworkPlan", str], "NetworkPlan"]


def _planned(
    name: str, given: dict[str, str | None], path: Path, *, asks: bool
) -> "tuple[NetworkPlan, list[str]]":
    """Return what was chosen for a network, and the defaults among it.

    Raises NewNetworkError, UsageError.
    """
    from chain.new_network import default_plan

    _refuse_existing(path)  # before anything is asked
    now = int(time.time())
    day = datetime.fromtimestamp(now, UTC).strftime("%d/%b/%Y")
    plan = default_plan(name, secrets.token_bytes(4), now, day)
    return _chosen(plan, given, asks=asks)


def _make(plan: "NetworkPlan", params: "Params", path: Path, *, is_worthless: bool) -> None:
    """Search the genesis block, and write the file. Raises UsageError, OSError."""
    from chain.durable_file import replace_file
    from chain.new_network import file_text, mined

    kernel, work = _kernel_and_work(params.genesis_bits)
    with _searching(work) as report:
        params = mined(params, kernel, report)
    try:
        text = file_text(params, plan.ports, plan.seeds, is_worthless=is_worthless)
        replace_file(path, text.encode(), overwrite=False)
    except FileExistsError:
        _refuse_existing(path)
    path.chmod(_FILE_MODE)
    show_(file=str(path), as_json=False)
    sys.stdout.write(f"\nwritten to {path}; now: groat node --network {path}\n")


def _refuse_existing(path: Path) -> None:
    """Raise UsageError: a network's file cannot be written there."""
    if path.suffix != ".toml":
        raise UsageError(f"{path}: a network's file ends in .toml")
    if not path.parent.is_dir():
        raise UsageError(f"--output {path}: there is no folder {path.parent}")
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path} is there already, and is never overwritten: choose --output")


def _chosen(
    plan: "NetworkPlan", given: dict[str, str | None], *, asks: bool
) -> "tuple[NetworkPlan, list[str]]":
    """Return the plan with the given values, asking for the others, and the defaults taken.

    Raises UsageError: a given value is wrong, which is said before anything is asked.
    """
    from chain.new_network import check_flags

    questions = _questions()
    known = {flag for flag in questions if given[flag] is not None}
    for flag, text in given.items():
        if text is not None:
            plan = _with_value(plan, flag, questions[flag], text)
    check_flags(plan, known)
    defaults = []
    for flag, question in questions.items():
        text = given[flag]
        known.add(flag)
        if text is None and asks:
            plan = _answered(plan, question, known)
            continue
        if text is None:
            text = question.default(plan)
            defaults.append(f"{flag} {text}")
        plan = _with_value(plan, flag, question, text)  # a seed's port follows that of peers
    return plan, defaults


def _with_value(plan: "NetworkPlan", flag: str, question: _Question, text: str) -> "NetworkPlan":
    """Return the plan with a flag's value. Raises UsageError: it cannot be read."""
    try:
        return question.changed(plan, text.strip())
    except ValueError as error:
        raise UsageError(f"--{flag} {text[:50]!r}: {error}") from error


def _answered(plan: "NetworkPlan", question: _Question, known: set[str]) -> "NetworkPlan":
    """Ask until the answer is within the bounds that its flag has, and return the plan with it.

    `known` are the flags whose values are chosen, with this one. Raises UsageError: end of input.
    """
    from chain.new_network import NewNetworkError, check_flags

    while True:
        text = _answer(question.text, question.default(plan))
        try:
            changed = question.changed(plan, text)
            check_flags(changed, known)
        except NewNetworkError as error:
            write_error(error)
        except ValueError as error:
            write_error(f"{text[:50]!r}: {error}")
        else:
            return changed


def _answer(text: str, default: str) -> str:
    """Return the answer to a question, or its default. Raises UsageError: end of input.

    typer's prompt would end a command in its own words, with 1, on Ctrl-C.
    """
    sys.stderr.write(f"{text} [{default}]: ")
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        sys.stderr.write("\n")
        raise UsageError("no answer: the input ended (--yes takes all defaults)")
    return line.strip() or default


def _questions() -> dict[str, _Question]:
    """Return what is asked, in order: later defaults depend on earlier answers."""
    from chain.new_network import default_difficulty, default_halving

    def halving(plan: "NetworkPlan") -> str:
        return str(default_halving(plan.spacing_s, plan.subsidy))

    def first_difficulty(plan: "NetworkPlan") -> str:
        return f"{default_difficulty(plan.spacing_s):g}"

    def with_port(plan: "NetworkPlan", name: str, text: str) -> "NetworkPlan":
        return replace(plan, ports=replace(plan.ports, **{name: _whole(text)}))

    return {
        "spacing": _field("Seconds between blocks", "spacing_s", _whole),
        "subsidy": _field("Coins that a block makes", "subsidy", _grains, _shown_coins),
        "halving": replace(
            _field("Blocks until that is halved", "halving_blocks", _whole), default=halving
        ),
        "maturity": _field("Blocks until a reward can be spent", "maturity_blocks", _whole),
        "prefix": _field("Addresses begin with", "prefix", str),
        "difficulty": replace(
            _field("First difficulty (1: 2^32 hashes a block)", "difficulty", _number),
            default=first_difficulty,
        ),
        "p2p-port": _Question(
            "Port for peers", lambda p: str(p.ports.p2p), lambda p, t: with_port(p, "p2p", t)
        ),
        "api-port": _Question(
            "Port for the API", lambda p: str(p.ports.api), lambda p, t: with_port(p, "api", t)
        ),
        "seed": replace(
            _field("Seeds: names or IP:PORT, with commas between", "seeds", str, _shown_seeds),
            changed=lambda p, t: replace(p, seeds=_seeds(t, p.ports.p2p)),
        ),
        "coin-type": _field("Coin type of wallets (1: test coins)", "coin_type", _whole),
        "magic": _field("Magic, 4 bytes in hex", "magic", _bytes, bytes.hex),
        "message": _field("Message in the genesis block", "message", str),
    }


def _field(
    text: str, name: str, read: Callable[[str], Any], written: Callable[[Any], str] = str
) -> _Question:
    return _Question(
        text,
        lambda plan: written(getattr(plan, name)),
        lambda plan, answer: replace(plan, **{name: read(answer)}),
    )


def _seeds(text: str, default_port: int) -> tuple[str, ...]:
    """Return the seeds in a list with commas. Raises ValueError: one is invalid."""
    from chain.seed_text import parse_seeds, seed_text

    given = [part.strip() for part in text.split(",") if part.strip()]
    return tuple(map(seed_text, parse_seeds(given, default_port)))


def _shown_seeds(seeds: tuple[str, ...]) -> str:
    return ",".join(seeds) or "none"


def _whole(text: str) -> int:
    if _WHOLE.fullmatch(text) is None:
        raise ValueError("it must be a whole number")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("it must be a number") from None


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ValueError("it must be hex") from None


def _grains(text: str) -> int:
    found = _AMOUNT.fullmatch(text)
    if found is None:
        raise ValueError("it must be coins, with at most eight decimals")
    return int(found[1] + (found[2] or "").ljust(8, "0"))


def _shown_coins(grains: int) -> str:
    return coins_text(grains).rstrip("0").rstrip(".")


def _kernel_and_work(bits: int) -> tuple[Any, int]:
    """Return a fast kernel, and the number of hashes that the search takes on average."""
    from chain.mining.hashlib_kernel import HashlibKernel
    from chain.mining.kernel import best_kernel
    from chain.primitives.compact import work_from_bits

    work = work_from_bits(bits)
    return HashlibKernel() if work < _COMPILED_FROM else best_kernel(), work


@contextmanager
def _searching(work: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal; the search may end early, or take several times `work`."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("searching the genesis block's nonce", total=work)
        yield lambda tried: progress.update(task, completed=tried, total=max(work, tried))
