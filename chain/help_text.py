"""The text of `--help`, of the program's own words alone, in groups of flags.

typer would name the types of its library (INTEGER, TEXT, <str>), and draw boxes.
"""

import shutil
import textwrap
from collections.abc import Iterable
from typing import Any, Final

COMMON_FLAGS: Final = "Common flags"  # a group that comes before the others
_OWN_FLAGS: Final = "Options"
_WIDTH_MIN, _WIDTH_MAX = 40, 100  # of a line, if the terminal has so many columns
_TERM_WIDTH_MAX: Final = 30  # of a flag's column; the help of a longer flag has lines of its own
_INDENT: Final = "  "

Entry = tuple[str, str]  # what is explained, and its explanation


def help_text(command: Any, ctx: Any) -> str:  # noqa: ANN401 - typer's own types
    """Return the help of a command or group, as wide as the terminal, but no wider than 100."""
    width = max(min(shutil.get_terminal_size().columns, _WIDTH_MAX), _WIDTH_MIN)
    parameters = [one for one in command.get_params(ctx) if not getattr(one, "hidden", False)]
    groups = _groups(parameters)
    commands = _commands(command, ctx)
    parts = [
        _wrapped(f"Usage: {ctx.command_path} {_usage(command, parameters)}", width, " " * 7),
        *_paragraphs(command.help, width),
    ]
    column = _column(commands)
    parts += _sections({"Commands": commands}, column, width) if commands else []
    column = _column(entry for entries in groups.values() for entry in entries)
    parts += [*_sections(groups, column, width), *_paragraphs(command.epilog, width)]
    return "\n\n".join(parts) + "\n"


def option_term(option: Any) -> str:  # noqa: ANN401 - typer's own type
    """Return an option's names, short ones first, and what it takes, such as `-w, --wallet NAME`.

    A value without a metavar of its own is VALUE: a library's name of a type says no more.
    """
    names = ", ".join([*sorted(option.opts, key=len), *option.secondary_opts])
    takes_value = not (option.is_flag or getattr(option, "count", False))
    return f"{names} {option.metavar or 'VALUE'}" if takes_value else names


def _groups(parameters: list[Any]) -> dict[str, list[Entry]]:
    """Return arguments, common flags, other groups, and flags without a group."""
    arguments = [(_name(one), _help(one)) for one in parameters if _is_argument(one)]
    panels: dict[str, list[Entry]] = {COMMON_FLAGS: []}
    for option in parameters:
        if not _is_argument(option):
            panel = getattr(option, "rich_help_panel", None) or _OWN_FLAGS
            panels.setdefault(panel, []).append((option_term(option), _help(option)))
    panels[_OWN_FLAGS] = panels.pop(_OWN_FLAGS, [])  # the last one
    groups = {"Arguments": arguments, **panels}
    return {title: entries for title, entries in groups.items() if entries}


def _commands(command: Any, ctx: Any) -> list[Entry]:  # noqa: ANN401 - typer's own types
    names = command.list_commands(ctx) if hasattr(command, "list_commands") else []
    found = ((name, command.get_command(ctx, name)) for name in names)
    return [(name, (one.help or "").split("\n\n")[0]) for name, one in found if not one.hidden]


def _sections(groups: dict[str, list[Entry]], column: int, width: int) -> list[str]:
    return [
        "\n".join([f"{title}:", *(line for each in found for line in _lines(each, column, width))])
        for title, found in groups.items()
    ]


def _column(entries: Iterable[Entry]) -> int:
    return max((len(term) for term, _ in entries if len(term) <= _TERM_WIDTH_MAX), default=0)


def _usage(command: Any, parameters: Iterable[Any]) -> str:  # noqa: ANN401 - typer's own types
    words = ["[OPTIONS]"]
    for argument in filter(_is_argument, parameters):
        name = _name(argument)
        if "[" not in name:  # else it says itself what is optional
            name = name if argument.required else f"[{name}]"
            name += "..." if argument.nargs != 1 else ""
        words.append(name)
    return " ".join([*words, *(["COMMAND ..."] if hasattr(command, "list_commands") else [])])


def _help(parameter: Any) -> str:  # noqa: ANN401 - typer's own type
    text = parameter.help or ""
    default = parameter.default
    if isinstance(default, int | float | str) and not isinstance(default, bool):
        return f"{text} Default {default}.".strip()
    is_required = parameter.required and not _is_argument(parameter)  # see the usage's brackets
    return f"{text} Required." if is_required else text


def _lines(entry: Entry, column: int, width: int) -> list[str]:
    term, text = entry
    start = f"{_INDENT}{term:{column}}{_INDENT}"
    deeper = " " * (2 * len(_INDENT) + column)
    lines = textwrap.wrap(text, width - len(deeper), break_long_words=False, break_on_hyphens=False)
    if len(term) > column or not lines:
        return [_INDENT + term, *(deeper + line for line in lines)]
    return [start + lines[0], *(deeper + line for line in lines[1:])]


def _paragraphs(text: str | None, width: int) -> list[str]:
    return [_wrapped(" ".join(part.split()), width) for part in (text or "").split("\n\n") if part]


def _wrapped(text: str, width: int, indent: str = "") -> str:
    return textwrap.fill(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _is_argument(parameter: Any) -> bool:  # noqa: ANN401 - typer's own type
    return bool(parameter.param_type_name == "argument")


def _name(argument: Any) -> str:  # noqa: ANN401 - typer's own type
    return str(argument.metavar or argument.name.upper())
