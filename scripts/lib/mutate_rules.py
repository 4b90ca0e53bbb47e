"""Remove each consensus rule in turn and run the test that docs/consensus.md names for it.

A rule is one `raise InvalidError(Reason.X...)` in chain/consensus; without it the named test must
fail. Prints a line a rule; exits 1 if a test passes without its rule or a rule has no test.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from chain.consensus.errors import Reason

_ROOT = Path(__file__).resolve().parents[2]
_UNREACHABLE = {Reason.FEE_RANGE}  # docs/consensus.md says why it stays


def documented_tests() -> dict[str, list[str]]:
    """Return the pytest ids that docs/consensus.md names, by reason."""
    found = {}
    for line in (_ROOT / "docs" / "consensus.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 5 and cells[2].startswith("`"):
            names = re.findall(r"\S+\.py::\w+", cells[3])
            found[cells[2].strip("`")] = [f"tests/consensus/{name}" for name in names]
    return found


def rules() -> list[tuple[Path, ast.Raise, Reason]]:
    """Return every place where consensus raises InvalidError with a literal Reason."""
    places = []
    for file in sorted((_ROOT / "chain" / "consensus").glob("*.py")):
        nodes = ast.walk(ast.parse(file.read_text()))
        raises = [node for node in nodes if isinstance(node, ast.Raise)]
        places += [(file, node, reason) for node in raises if (reason := _reason_of(node))]
    return places


def _reason_of(node: ast.Raise) -> Reason | None:
    """Return the Reason that a raise names as its error's first argument, if it does."""
    arguments = node.exc.args if isinstance(node.exc, ast.Call) else []
    first = arguments[0] if arguments else None
    name = first.attr if isinstance(first, ast.Attribute) else ""
    return Reason.__members__.get(name)


def passes_without(tree: Path, file: Path, rule: ast.Raise, tests: list[str]) -> bool:
    """Run `tests` in `tree` with one raise replaced by pass, and restore it."""
    copy = tree / file.relative_to(_ROOT)
    original = copy.read_text()
    lines = original.splitlines()
    indent = " " * rule.col_offset
    lines[rule.lineno - 1 : rule.end_lineno] = [f"{indent}pass"]
    copy.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        run = subprocess.run(command, cwd=tree, env=environment, capture_output=True, check=False)
    finally:
        copy.write_text(original)
    return run.returncode == 0


def main() -> None:
    """Check all rules."""
    tests, bad = documented_tests(), 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in ("chain", "tests"):
            shutil.copytree(_ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(_ROOT / "pyproject.toml", tree)
        for file, rule, reason in rules():
            where = f"{file.name}:{rule.lineno} {reason}"
            if reason in _UNREACHABLE:
                print(f"unreachable  {where}")
            elif not tests.get(reason):
                bad += 1
                print(f"NO TEST      {where}")
            elif passes_without(tree, file, rule, tests[reason]):
                bad += 1
                print(f"SURVIVED     {where}")
            else:
                print(f"caught       {where}")
    sys.exit(f"{bad} rules have no test that fails without them" if bad else 0)


if __name__ == "__main__":
    main()
