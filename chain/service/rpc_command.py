"""`groat rpc`: one JSON-RPC call from the command line, as bitcoin-cli makes it.

Which arguments are text and which are JSON is asked of the node, by Core's hidden `help
dump_all_command_conversions`: it knows its own methods, of whatever version it is.
"""

import getpass
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chain.errors import ShownError, UsageError
from chain.near_names import did_you_mean
from chain.printable import printable_lines
from chain.service.api.access.cookie import COOKIE_NAME
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import write_json
from chain.service.api.rpc.missing_methods import LACKED, WALLET_COMMANDS
from chain.service.api.strict_json import Json, Number, read_json
from chain.service.miner.json_rpc import (
    SECRET_BYTES_MAX,
    InvalidUrlError,
    Login,
    LoginRefusedError,
    NoCookieError,
    NotConnectedError,
    RpcClient,
    RpcFailure,
    RpcResponseError,
    cookie_login,
)
from chain.service.remote import api_endpoint, is_api_found
from chain.settings import Settings
from chain.standard_streams import naming_output
from chain.text_file import wide_encoding

CALL_TIMEOUT_S: Final = 900.0  # bitcoin-cli's -rpcclienttimeout
_HELP_TIMEOUT_S: Final = 2.0  # while somebody waits for a completion
_RETRY_S: Final = 0.5  # between two attempts of --rpc-wait
_STDIN_BYTES_MAX: Final = 64_000_000
_INPUT_ENDED: Final = "--user needs a password: standard input has none"
_IN_WARMUP: Final = -28  # Bitcoin Core's RPC_IN_WARMUP
_INDENT: Final = "  "
_OPENERS: Final = ("{", "[", '"')  # nobody means text that begins so
# Flags that are often written after the method; no argument looks like them.
_FLAGS: Final = frozenset(
    {"--network", "--datadir", "--api", "--named", "--stdin", "--help", "--user", "--cookie"}
    | {"--rpc-wait", "--rpc-wait-timeout"}
)
_POSITIONAL: Final = "args"  # among named arguments: the first ones, in order


class RpcCallError(ShownError):
    """The call could not be made, or its answer is not one of JSON-RPC."""


class RpcArgumentError(UsageError):
    """An argument cannot be sent; the text names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcPlan:
    """The flags of `groat rpc`."""

    url: Callable[[], str]  # asked again for each attempt: a node names its address when it starts
    login: Login
    is_found: Callable[[], bool] = lambda: True  # whether the URL is given, or the running node's
    is_given: bool = False  # whether a flag or the environment names the URL
    is_named: bool = False  # arguments are NAME=VALUE
    waits: bool = False  # until the node answers
    wait_s_max: float | None = None


@dataclass(frozen=True, slots=True)
class ArgumentTypes:
    """Which arguments of a node's methods are text; the others are JSON."""

    is_text: Mapping[tuple[str, int | str], bool] = field(default_factory=dict)  # method, place

    def value(self, method: str, place: int | str, text: str) -> Json:
        """Return the JSON value of an argument's text; `place` is a position or a name.

        Raises RpcArgumentError.
        """
        if self.is_text.get((method, place), False):
            return text
        try:
            return read_json(text.encode("utf-8", "surrogateescape"))
        except ValueError as error:
            if text.lstrip().startswith(_OPENERS):
                shown = f"argument {place + 1}" if isinstance(place, int) else place
                raise RpcArgumentError(f"{method}: {shown} is not JSON: {error}") from error
            return text  # such as a hash where a height is accepted too


def types_of(rows: Json) -> ArgumentTypes:
    """Return the types in the rows of `dump_all_command_conversions`.

    A node that answers something else has none: what is JSON is JSON then, the rest text.
    """
    found: dict[tuple[str, int | str], bool] = {}
    for row in rows if isinstance(rows, list) else ():
        match row:
            case [str(method), Number(text=at), str(name), bool(is_text)] if at.isdecimal():
                found.setdefault((method, int(at)), is_text)  # the others are its aliases, members
                found[method, name] = is_text
    return ArgumentTypes(found)


def rpc_url(settings: Settings, given: str | None) -> str:
    """Return the URL to call: the given HOST:PORT or URL, the running node's, or the default."""
    if given is not None and "://" in given:
        return given
    endpoint = api_endpoint(settings, is_given=given is not None)
    return f"http://{endpoint.to_dial()}/"


def is_url_found(settings: Settings, given: str | None) -> bool:
    """Return whether rpc_url gives what is given or the running node's, and not the default."""
    return is_api_found(settings, is_given=given is not None)


def rpc_login(settings: Settings, user: str | None, cookie: Path | None) -> Login:
    """Return the login: a user with the password from standard input, or a cookie file."""
    if user is not None and cookie is not None:
        raise UsageError("--user and --cookie exclude each other")
    if user is None:
        return cookie_login(cookie or settings.folder / COOKIE_NAME)
    password = _password()
    return lambda: (user, password)


def run(plan: RpcPlan, words: Sequence[str]) -> int:
    """Make a call, print its result or the node's error, and return the exit status.

    Raises RpcCallError; RpcArgumentError: there is no method, or an argument cannot be sent.
    """
    if not words:
        raise RpcArgumentError("no method: name one (groat rpc help lists them)")
    flag = next((word for word in words[1:] if word.split("=")[0] in _FLAGS), None)
    if flag is not None:
        hint = f"; groat rpc help {words[0]} explains the method" if flag == "--help" else ""
        raise RpcArgumentError(f"{flag} is after the method: write flags before {words[0]}{hint}")
    try:
        text = shown(call_node(plan, words))
    except RpcResponseError as error:
        is_known = words[0] in WALLET_COMMANDS or words[0] in LACKED
        is_unknown = error.code == Code.METHOD_NOT_FOUND and not is_known
        hint = _near_method(plan, words[0]) if is_unknown else ""
        sys.stderr.write(error_text(error) + hint + "\n")
        return exit_status(error)
    if text:
        with naming_output():
            sys.stdout.write((printable_lines(text) if sys.stdout.isatty() else text) + "\n")
    return 0


def call_node(plan: RpcPlan, words: Sequence[str]) -> Json:
    """Return the result of a call: `words` are the method and its arguments.

    Raises RpcResponseError: the node's error; RpcCallError, RpcArgumentError.
    """
    started_s = time.monotonic()
    while True:
        try:
            return _call_once(plan, words[0], words[1:])
        except InvalidUrlError as error:
            raise RpcArgumentError(str(error)) from error
        except RpcFailure as error:
            if not plan.waits or _is_late(plan, started_s) or not _is_starting(plan, error):
                if isinstance(error, RpcResponseError):
                    raise
                raise RpcCallError(_failure_text(plan, error)) from error
            time.sleep(_RETRY_S)


def _failure_text(plan: RpcPlan, error: RpcFailure) -> str:
    """Return why there was no call; of a given address, whether something answers there."""
    if not plan.is_given or not isinstance(error, NoCookieError):
        return f"{error}{_hint(plan, error)}"
    try:
        with closing(RpcClient(plan.url(), lambda: ("", ""), read_json)) as rpc:
            rpc.request("uptime", [], _HELP_TIMEOUT_S)
    except LoginRefusedError:
        return f"{plan.url()} needs a login: --cookie FILE or --user USER gives it ({error})"
    except RpcFailure as failed:
        return f"{failed}{_hint(plan, failed)}"
    return str(error)


def _hint(plan: RpcPlan, error: RpcFailure) -> str:
    """Return what may be the matter, or nothing."""
    if isinstance(error, NotConnectedError):
        if plan.is_given:
            return "; is a node's API at this --api?"
        return "; is a node running, with this --network and --datadir?"
    if isinstance(error, LoginRefusedError) and not plan.is_found():
        return "; no node runs with this --network and --datadir: it is another one's"
    return ""


def method_names(settings: Settings, api: str | None) -> list[str]:
    """Return the running node's methods for the shell's completion; [] if it does not answer."""
    login = cookie_login(settings.folder / COOKIE_NAME)
    return _known_methods(RpcPlan(url=lambda: rpc_url(settings, api), login=login), _HELP_TIMEOUT_S)


def _near_method(plan: RpcPlan, method: str) -> str:
    """Return a hint at the node's method of nearly this name, or nothing."""
    return did_you_mean(method, _known_methods(plan, CALL_TIMEOUT_S))


def _known_methods(plan: RpcPlan, timeout_s: float) -> list[str]:
    """Return the methods that a node lists; [] if it does not, as for some logins."""
    try:
        with closing(RpcClient(plan.url(), plan.login, read_json)) as rpc:
            text = rpc.request("help", [], timeout_s)
    except RpcFailure:
        return []
    lines = text.splitlines() if isinstance(text, str) else []
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("==")]


def _call_once(plan: RpcPlan, method: str, words: Sequence[str]) -> Json:
    with closing(RpcClient(plan.url(), plan.login, read_json)) as rpc:
        params = _params(plan, rpc, method, words)
        return rpc.request(method, params, CALL_TIMEOUT_S)


def _is_starting(plan: RpcPlan, error: RpcFailure) -> bool:
    """Return whether the node may answer soon; nothing was done yet."""
    if isinstance(error, LoginRefusedError):  # by another node: this one has no address yet
        return not plan.is_found()
    in_warmup = isinstance(error, RpcResponseError) and error.code == _IN_WARMUP
    return in_warmup or isinstance(error, NotConnectedError)


def _is_late(plan: RpcPlan, started_s: float) -> bool:
    return plan.wait_s_max is not None and time.monotonic() - started_s >= plan.wait_s_max


def stdin_words() -> list[str]:
    """Return the lines of standard input. Raises RpcArgumentError: not UTF-8, or too long."""
    data = sys.stdin.buffer.read(_STDIN_BYTES_MAX + 1)
    if len(data) > _STDIN_BYTES_MAX:
        raise RpcArgumentError(f"standard input has over {_STDIN_BYTES_MAX:,} bytes")
    lines = [line.removesuffix("\r") for line in _decoded(data).split("\n")]
    return lines if lines[-1] else lines[:-1]


def shown(value: Json) -> str:
    """Return a result as bitcoin-cli prints it: a string as it is, null as nothing, else JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else _pretty(value, "")


def _pretty(value: Json, indent: str) -> str:
    if not isinstance(value, dict | list):
        return write_json(value)
    deeper = indent + _INDENT
    if isinstance(value, dict):
        items = [f"{write_json(key)}: {_pretty(item, deeper)}" for key, item in value.items()]
    else:
        items = [_pretty(item, deeper) for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    inside = ",\n".join(f"{deeper}{item}" for item in items)
    return f"{opening}\n{inside}\n{indent}{closing}" if items else f"{opening}\n{indent}{closing}"


def error_text(error: RpcResponseError) -> str:
    """Return a node's error in bitcoin-cli's words, harmless for a terminal."""
    return f"error code: {error.code}\nerror message:\n{printable_lines(error.message)}"


def exit_status(error: RpcResponseError) -> int:
    """Return bitcoin-cli's exit status for a node's error: never 0."""
    return abs(error.code) % 256 or 1


def _params(plan: RpcPlan, rpc: RpcClient, method: str, words: Sequence[str]) -> Json:
    if not words:
        return {} if plan.is_named else []
    types = types_of(_conversions(rpc))
    if not plan.is_named:
        return [types.value(method, at, word) for at, word in enumerate(words)]
    return _named(types, method, words)


def _named(types: ArgumentTypes, method: str, words: Sequence[str]) -> dict[str, Json]:
    """Return named arguments; words without a name come first, in order, as in bitcoin-cli."""
    values: dict[str, Json] = {}
    first: list[Json] = []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            first.append(types.value(method, len(first), word))
        elif name in values:
            raise RpcArgumentError(f"{method}: argument {name} is given twice")
        else:
            values[name] = types.value(method, name, text)
    return {_POSITIONAL: first, **values} if first else values


def _conversions(rpc: RpcClient) -> Json:
    try:
        return rpc.request("help", ["dump_all_command_conversions"], CALL_TIMEOUT_S)
    except RpcResponseError as error:
        if error.code == _IN_WARMUP:
            raise
        return None  # a node without it, or a login that may not call it


def _password() -> str:
    """Return the password: typed without an echo, or the first line of standard input."""
    if sys.stdin.isatty():
        try:
            return getpass.getpass("RPC password: ")
        except EOFError:
            sys.stderr.write("\n")
            raise RpcArgumentError(_INPUT_ENDED) from None
    line = sys.stdin.buffer.readline(SECRET_BYTES_MAX + 1)
    if not line:
        raise RpcArgumentError(_INPUT_ENDED)
    if len(line) > SECRET_BYTES_MAX:
        raise RpcArgumentError(f"the password has over {SECRET_BYTES_MAX} bytes")
    return _decoded(line).rstrip("\r\n")


def _decoded(data: bytes) -> str:
    problem = wide_encoding(data)
    if problem is not None:
        raise RpcArgumentError(f"standard input: {problem}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RpcArgumentError("standard input is not UTF-8 text") from None
