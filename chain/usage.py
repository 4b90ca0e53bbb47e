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
from chain.text_file import escaped

# A wrong flag or argument; typer brings this class along or takes click's, by its version.
FlagError: Final[Any] = typer.BadParameter.__base__
_EXIT_USAGE: Final = 2
_MAY_BE_EMPTY: Final = frozenset({"label"})  # options whose text is for people
# In typer 0.29 the sentences of pydantic: "Input should be a valid integer, unable to ...".
_LIBRARY_WORDS: Final = re.compile(r"Input should be (a valid )?([^,]+).*", re.DOTALL)
_LIBRARY_PREFIX: Final = re.compile(r"\bValue error, ")
_OTHER_OPTION: Final = re.compile(r" \(Possible options: (--[\w-]+)[^)]*\)")


class Command(TyperCommand):
    """A command that refuses an empty value of an option; its help is in the program's words."""

    def __init__(self, *words: Any, **more: Any) -> None:  # noqa: ANN401 - typer's own types
        super().__init__(*words, **more)
        self.help = _unbroken(self.help)

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
        text = _OTHER_OPTION.sub(r"; did you mean \1?", text)
        text = _LIBRARY_PREFIX.sub("", _LIBRARY_WORDS.sub(_plainly, text))
        text = escaped(text).rstrip(".")
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


def _plainly(found: re.Match[str]) -> str:
    what = "whole number" if found[2] == "integer" else found[2]
    return f"must be a {what}" if found[1] else f"must be {what}"


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
