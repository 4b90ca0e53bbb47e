"""Print the list of JSON-RPC methods in docs/rpc.md, or write it there with `--write`.

Everything is taken from the methods' signatures and docstrings.
"""

import inspect
import sys
from pathlib import Path
from typing import Final

from chain.service.api.rpc.method import Method
from chain.service.api.rpc.methods import METHODS

_ROOT = Path(__file__).resolve().parents[2]
PAGE: Final = _ROOT / "docs" / "rpc.md"
START: Final = "<!-- scripts/rpc_page --write -->\n"
END: Final = "<!-- end of the methods -->\n"


def methods_text() -> str:
    """Return the methods by group, each with its arguments and description."""
    parts = []
    for group in sorted({method.group for method in METHODS.values()}):
        parts.append(f"## {group}\n")
        methods = sorted((m for m in METHODS.values() if m.group == group), key=lambda m: m.name)
        parts += [_method_text(method) for method in methods]
    return "\n".join(parts)


def _method_text(method: Method) -> str:
    description = " ".join(inspect.getdoc(method.function).split())
    lines = [f"### {method.name}\n", f"    {method.usage}\n", f"{description}\n"]
    items = [f"* {one.description('`')}" for one in method.parameters]
    return "\n".join([*lines, *items, *([""] if items else [])])


def main() -> None:
    """Print the list, or write it between its two marks in the page."""
    if sys.argv[1:] not in ([], ["--write"]):
        sys.exit("usage: scripts/rpc_page [--write]")
    if not sys.argv[1:]:
        print(methods_text(), end="")
        return
    page = PAGE.read_text()
    if page.count(START) != 1 or page.count(END) != 1:
        sys.exit(f"docs/rpc.md must have these lines once each:\n{START}{END}")
    before, rest = page.split(START)
    PAGE.write_text(before + START + "\n" + methods_text() + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
