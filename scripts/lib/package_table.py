"""Print the table of packages in docs/architecture.md, or write it there with `--write`.

One row for each package: its files, its lines, and its docstring. Sub-packages have their own rows
and are not counted again.
"""

import ast
import sys
from pathlib import Path
from typing import Final

_ROOT = Path(__file__).resolve().parents[2]
_PAGE = _ROOT / "docs" / "architecture.md"
_ROUNDED_TO: Final = 100  # lines, so that the table stays true for most commits
START: Final = "<!-- scripts/package_table --write -->\n"
END: Final = "<!-- end of the table -->\n"


def packages() -> list[Path]:
    """Return the folders of chain and wallet that are packages, sorted by path."""
    found = [path.parent for top in ("chain", "wallet") for path in (_ROOT / top).rglob("*.py")]
    return sorted({folder for folder in found if (folder / "__init__.py").exists()})


def name_of(folder: Path) -> str:
    """Return a package's path as in the table."""
    return str(folder.relative_to(_ROOT))


def row(folder: Path) -> str:
    """Return a package's line of the table. Raises SystemExit if it has no docstring."""
    files = sorted(folder.glob("*.py"))
    lines = sum(len(file.read_text().splitlines()) for file in files)
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    if not docstring:
        sys.exit(f"{name_of(folder)}/__init__.py has no docstring: describe the package")
    rounded = max(round(lines, -2), _ROUNDED_TO)
    sentence = docstring.splitlines()[0]
    return f"| `{name_of(folder)}` | {len(files)} | {rounded:,} | {sentence} |\n"


def table() -> str:
    """Return the table, each line with its line end."""
    head = "| package | files | lines | what it is |\n|---|---:|---:|---|\n"
    return head + "".join(map(row, packages()))


def main() -> None:
    """Print the table, or write it between its two marks in the page."""
    if sys.argv[1:] not in ([], ["--write"]):
        sys.exit("usage: scripts/package_table [--write]")
    if not sys.argv[1:]:
        print(table(), end="")
        return
    page = _PAGE.read_text()
    if page.count(START) != 1 or page.count(END) != 1:
        sys.exit(f"docs/architecture.md must have these lines once each:\n{START}{END}")
    before, rest = page.split(START)
    after = rest.split(END)[1]
    _PAGE.write_text(before + START + "\n" + table() + "\n" + END + after)


if __name__ == "__main__":
    main()
