"""How the command lines of node and wallet say what is wrong with a flag: in one line.

typer would draw a box, in the words of whatever library converts the values.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from chain.help_text import help_text
from chain.near_names import did_you_mean
from chain.text_file import escaped

# A wrong flag or argument; typer brings this class along or takes click's, by its version.
FlagError: Final[Any] = typer.BadParameter.__base__
_EXIT_USAGE: Final = 2
_MAY_BE_EMPTY: Final = frozenset({"label"})  # options whose text is for people
_TEXT_CHARACTERS_MAX: Final = 400
_NEGATIVE: Final = re.compile(r"-\.?\d[\d.,]*", re.ASCII)  # a number, for which no flag is named
_MASK: Final = "\0"  # no argument of a process can hold it
# A network as programs of Bitcoin name it by a flag alone, as -regtest, and its name here.
_NETWORK_WORDS: Final = {
    **{name: name for name in ("main", "test", "devnet", "regtest")},
    "mainnet": "main",
    "testnet": "test",
    "testnet4": "test",
    "signet": "test",
}
# What typer says (0.29 in pydantic's sentences), and what the programs say instead; in order.
_WORDS: Final = tuple(
    (re.compile(pattern, re.DOTALL), ours)
    for pattern, ours in (
        (r" \(Possible options: (--[\w-]+)[^)]*\)", r"; did you mean \1?"),
        (r"^No such option: ", "no such option: "),
        (r"^No such command '(.*?)'", r"no such command: '\1'"),
        (r"\. Did you mean '([\w-]+)'\?", r"; did you mean \1?"),
        (r"\. Did you mean one of: '([\w-]+)'.*\?", r"; did you mean \1?"),
        (r"^Missing command", "no command given"),
        (r"^Missing (argument|option) '(.*?)'", r"missing \1: \2"),
        (r"^Got unexpected extra argument(?:s|\(s\)|) \((.*)\)", r"unexpected argument: \1"),
        (r"^Option '(.*?)' requires an argument", r"\1 needs a value"),
        (r"^Option '(.*?)' does not take a value", r"\1 takes no value"),
        (r"^Invalid value for '(.*?)'(?: / '-\w')?: ", r"\1: "),
        (r"^Invalid value: ", ""),
        (r"\bValue error, ", ""),
        (r"Input should be greater than or equal to (-?\d+(?:\.\d+)?).*", r"must be \1 or more"),
        (r"Input should be less than or equal to (-?\d+(?:\.\d+)?).*", r"must be \1 or less"),
        (r"Input should be a valid integer.*", "must be a whole number"),
        (r"Input should be a valid ([^,]+).*", r"must be a \1"),
        (r"Input should be ([^,]+).*", r"must be \1"),
    )
)


class Command(TyperCommand):
    """A command that refuses an empty value of an option; its help is in the program's words."""

    def __init__(self, *words: Any, **more: Any) -> None:  # noqa: ANN401 - typer's own types
        super().__init__(*words, **more)
        self.help = _unbroken(self.help)

    def make_parser(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's own types
        """Return typer's parser, which takes negative numbers as arguments."""
        return _naming_whole_words(_taking_negatives(super().make_parser(ctx)))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own type
        """Look for empty values, and parse. Raises typer's usage errors."""
        with _of_command(ctx):
            _refuse_empty(self, ctx, args)
            return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer's own types
        """Write the help."""
        formatter.write(help_text(self, ctx))


class Group(TyperGroup):
    """Commands whose usage errors are one line each on standard error, with exit code 2."""

    def make_parser(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's own types
        """Return typer's parser."""
        return _naming_whole_words(super().make_parser(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own type
        """Look for empty values among the flags before the command, and parse."""
        with _of_command(ctx):
            _refuse_empty(self, ctx, args)
            return super().parse_args(ctx, args)

    def make_context(self, *words: Any, **more: Any) -> Any:  # noqa: ANN401 - typer's own types
        """Parse the flags before the command."""
        with in_one_line():
            return super().make_context(*words, **more)

    def invoke(self, ctx: Any) -> object:  # noqa: ANN401 - typer's own type
        """Parse and run the command."""
        with in_one_line():
            return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer's own types
        """Write the help."""
        formatter.write(help_text(self, ctx))


@contextmanager
def in_one_line() -> Iterator[None]:
    """Report a wrong flag or argument in one line that names it and the command's help."""
    try:
        yield
    except FlagError as error:
        text = " ".join(error.format_message().splitlines())
        if not text or text.startswith("Usage:"):  # no command: the whole help
            typer.echo(error.ctx.get_help())
            raise typer.Exit(_EXIT_USAGE) from None
        text = _in_own_words(text).rstrip(".")
        path = error.ctx.command_path
        sys.stderr.write(f"{path.split()[0]}: {text} (see {path} --help)\n")
        raise typer.Exit(_EXIT_USAGE) from None


@contextmanager
def _of_command(ctx: Any) -> Iterator[None]:  # noqa: ANN401 - typer's own type
    """Name the command in errors of the parser, which knows none."""
    try:
        yield
    except FlagError as error:
        error.ctx = error.ctx or ctx
        raise


def _unbroken(text: str | None) -> str | None:
    """Return a help text whose paragraphs are one line each, for the terminal to wrap."""
    if text is None:
        return None
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _in_own_words(text: str) -> str:
    for pattern, ours in _WORDS:
        text = pattern.sub(ours, text)
    text, mark, known = text.partition(" is not one of ")
    shown = escaped(text + mark + known.replace("'", ""))
    is_long = len(shown) > _TEXT_CHARACTERS_MAX
    return f"{shown[:_TEXT_CHARACTERS_MAX]}..." if is_long else shown


def _taking_negatives(parser: Any) -> Any:  # noqa: ANN401 - typer's own type
    """Return the parser, changed to take `-1` as an argument: it is no flag that is missing.

    What reads the argument can say better why a negative number is wrong there, and a few may be.
    """
    parse = parser.parse_args

    def parse_masked(args: list[str]) -> Any:  # noqa: ANN401 - typer's own types
        masked = [_MASK + arg if _NEGATIVE.fullmatch(arg) else arg for arg in args]
        given, rest, order = parse(args=masked)
        return {name: _unmasked(value) for name, value in given.items()}, _unmasked(rest), order

    parser.parse_args = parse_masked
    return parser


def _naming_whole_words(parser: Any) -> Any:  # noqa: ANN401 - typer's own type
    """Return the parser, changed to name an unknown `-conf=x` as -conf.

    typer takes it for the short options -c, -o, -n and -f, and says that there is no -c.
    """
    parse = parser.parse_args

    def parse_args(args: list[str]) -> Any:  # noqa: ANN401 - typer's own types
        try:
            return parse(args=list(args))  # the parser empties the list
        except FlagError as error:
            short = getattr(error, "option_name", "")
            word = _word_of(short, args)
            if word == "-h":
                raise FlagError(f"no such option: {word}; did you mean --help?") from None
            network = _NETWORK_WORDS.get(word.lstrip("-"))
            if network is not None and "--network" in parser._long_opt:
                meant = f"did you mean --network {network}?"
                raise FlagError(f"no such option: {word}; {meant}") from None
            if word == short:
                raise
            names = [name.removeprefix("--") for name in parser._long_opt]
            like = did_you_mean(word.removeprefix("-"), names).replace("mean ", "mean --")
            raise FlagError(f"no such option: {word}{like}") from None

    parser.parse_args = parse_args
    return parser


def _word_of(short: str, args: list[str]) -> str:
    """Return the first word that begins with a short option, as `-conf=x` with -c, or the option.

    Without what follows a `=`, which may be secret.
    """
    if len(short) != len("-c") or short == "--":
        return short
    return next((arg.split("=")[0] for arg in args if arg.startswith(short)), short)


def _unmasked(value: Any) -> Any:  # noqa: ANN401 - of a flag or argument: a text, several, others
    if isinstance(value, str):
        return value.removeprefix(_MASK)
    if isinstance(value, list | tuple):
        return type(value)(map(_unmasked, value))
    return value


def _refuse_empty(command: Any, ctx: Any, args: list[str]) -> None:  # noqa: ANN401 - typer's types
    """Refuse an option with an empty value: it comes from a script's unset variable.

    As the name of a folder it would be the current one, and elsewhere count as not given.
    """
    given, _, _ = command.make_parser(ctx).parse_args(args=list(args))
    for parameter in command.get_params(ctx):
        values = given.get(parameter.name)
        values = values if isinstance(values, list | tuple) else (values,)
        is_option = parameter.param_type_name == "option"
        if is_option and "" in values and parameter.name not in _MAY_BE_EMPTY:
            name = max(parameter.opts, key=len)
            raise typer.BadParameter(f"{name} is empty: give it a value, or leave it out", ctx)
