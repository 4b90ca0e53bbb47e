"""Print the names of the man pages, or write them to packaging/man with `--write`.

A page for each command, from what `--help` shows: the same flags, texts and groups, in man(7).
"""

import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from typer.main import get_command

from chain.cli.commands import app as groat
from chain.settings import variable_names
from wallet.command_line import app as groat_wallet

_ROOT = Path(__file__).resolve().parents[2]
FOLDER: Final = _ROOT / "packaging" / "man"
_PROGRAMS: Final = {"groat": groat, "groat-wallet": groat_wallet}
SERVICES: Final = frozenset({"groat node", "groat serve"})  # their flags are settings
_FLAGS: Final = re.compile(r"(?<![\w-])(--?)(?=\w)")
_QUOTED: Final = re.compile(r"`([^`]+)`")


def man_pages() -> dict[str, str]:
    """Return the text of each page by its file name."""
    pages = {}
    for name, app in _PROGRAMS.items():
        pages.update(_pages_of(get_command(app), name))
    return pages


def _pages_of(command: Any, path: str) -> dict[str, str]:  # noqa: ANN401 - typer's own type
    pages = {f"{path.replace(' ', '-')}.1": _page(command, path)}
    for name, part in _parts(command).items():
        pages.update(_pages_of(part, f"{path} {name}"))
    return pages


def _parts(command: Any) -> dict[str, Any]:  # noqa: ANN401
    return {n: c for n, c in getattr(command, "commands", {}).items() if not c.hidden}


def _page(command: Any, path: str) -> str:  # noqa: ANN401
    title = path.replace(" ", "-")
    summary, *_ = _sentences(command.help.split("\n\n")[0])  # "SIGTERM." ends one too
    lines = [
        ".\\\" Written by scripts/man_pages --write from the command's help.",
        f'.TH {title.upper()} 1 "" "groat {version("groat")}" "groat"',
        ".SH NAME",
        f"{_text(title)} \\- {_text(summary[:1].lower() + summary[1:].rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_text(path)}",
        *_synopsis(command),
        ".SH DESCRIPTION",
        *_paragraphs(command.help),
        *_arguments(command),
        *_options(command),
        *_commands(command, title),
        *_environment(command, path),
        *_notes(command),
        *_see_also(path),
    ]
    return "\n".join(lines) + "\n"


def _synopsis(command: Any) -> list[str]:  # noqa: ANN401
    words = [".RI [ OPTIONS ]"]
    words += [".IR COMMAND " + '" " ...'] if _parts(command) else []
    for argument in _parameters(command, "argument"):
        name = _text(argument.metavar or argument.name.upper())
        dots = " ..." if argument.nargs == -1 else ""
        words.append(f"\\fI{name}\\fR{dots}" if argument.required else f"[\\fI{name}\\fR{dots}]")
    return words


def _parameters(command: Any, kind: str) -> list[Any]:  # noqa: ANN401
    return [p for p in command.params if p.param_type_name == kind and not p.hidden]


def _arguments(command: Any) -> list[str]:  # noqa: ANN401
    lines = []
    for argument in _parameters(command, "argument"):
        name = _text(argument.metavar or argument.name.upper())
        lines += [".TP", f"\\fI{name}\\fR", *_help(argument)]
    return [".SH ARGUMENTS", *lines] if lines else []


def _options(command: Any) -> list[str]:  # noqa: ANN401
    """Return the options, those of one panel of the help together."""
    panels: dict[str, list[str]] = {"": []}
    for option in _parameters(command, "option"):
        panel = panels.setdefault(option.rich_help_panel or "", [])
        panel += [".TP", _flags(option), *_help(option)]
    panels[""] += [".TP", "\\fB\\-\\-help\\fR", "Show a short form of this page."]
    lines = [".SH OPTIONS"]
    for title, items in panels.items():
        lines += [f".SS {_text(title)}", *items] if title else items
    return lines


def _flags(option: Any) -> str:  # noqa: ANN401
    names = sorted((*option.opts, *option.secondary_opts), key=lambda name: name[:2] != "--")
    flags = ", ".join(f"\\fB{_text(name)}\\fR" for name in names)
    if option.is_flag:
        return flags
    return f"{flags} \\fI{_text(option.metavar or option.name.upper())}\\fR"


def _help(parameter: Any) -> list[str]:  # noqa: ANN401
    """Return the text of a flag or argument, with its limits and default if it says none."""
    more = []
    low, high = getattr(parameter, "min", None), getattr(parameter, "max", None)
    if low is not None or high is not None:
        more.append(f"From {low}." if high is None else f"From {low} to {high}.")
    default = parameter.default
    is_value = isinstance(default, int | float | str) and not isinstance(default, bool)
    if is_value and "efault" not in (parameter.help or ""):
        more.append(f"Default {default}.")
    return [*_sentence_lines(parameter.help or ""), *map(_text, more)] or ["\\&"]


def _commands(command: Any, title: str) -> list[str]:  # noqa: ANN401
    lines = []
    for name, part in _parts(command).items():
        summary, *_ = _sentences(part.help)
        page = _text(f"{title}-{name}")
        lines += [".TP", f"\\fB{_text(name)}\\fR", _text(summary), f"See \\fB{page}\\fR(1)."]
    return [".SH COMMANDS", *lines] if lines else []


def _environment(command: Any, path: str) -> list[str]:  # noqa: ANN401
    if path not in SERVICES:
        return []
    known = variable_names()
    names = [known[o.name] for o in _parameters(command, "option") if o.name in known]
    return [
        ".SH ENVIRONMENT",
        "These variables stand for the flags of their names; lists are separated by commas:",
        f"{', '.join(names)}.",
        ".PP",
        "The file \\fIgroat.toml\\fR in the data directory may have the same settings, except the",
        "data directory.",
        "A flag takes precedence over the environment, and the environment over the file.",
    ]


def _notes(command: Any) -> list[str]:  # noqa: ANN401
    return [".SH NOTES", *_paragraphs(command.epilog)] if command.epilog else []


def _see_also(path: str) -> list[str]:
    parents = path.split()[:-1]
    pages = ["-".join(parents[: n + 1]) for n in range(len(parents))]
    pages += [name for name in _PROGRAMS if name not in pages and name != path]
    text = ",\n".join(f"\\fB{_text(page)}\\fR(1)" for page in pages)
    return [".SH SEE ALSO", *text.splitlines()]


def _paragraphs(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        lines += [".PP", *_sentence_lines(paragraph)]
    return lines[1:]


def _sentence_lines(text: str) -> list[str]:
    return [_text(sentence) for sentence in _sentences(text)]


def _sentences(text: str) -> list[str]:
    """Return the sentences of one paragraph or more, each with its full stop."""
    return re.split(r"(?<=[a-z\d)][.]) (?=[A-Z])", " ".join(text.split())) if text else []


def _text(text: str) -> str:
    """Return text in man(7), on one line; what is between backticks is bold."""
    text = text.replace("\\", "\\e")
    text = _FLAGS.sub(lambda found: "\\-" * len(found[1]), text)
    text = _QUOTED.sub(r"\\fB\1\\fR", text)
    return f"\\&{text}" if text[:1] in {".", "'"} else text


def main() -> None:
    """Print the pages' names, or write the pages and remove those of former commands."""
    if sys.argv[1:] not in ([], ["--write"]):
        sys.exit("usage: scripts/man_pages [--write]")
    pages = man_pages()
    if not sys.argv[1:]:
        print("\n".join(pages))
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.1"):
        if old.name not in pages:
            old.unlink()
    for name, text in pages.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
