"""Remove each consensus rule in turn and run the test that docs/consensus.md names for it.

A rule is one `raise InvalidError(Reason.X...)` in chain/consensus; without it the named test must
fail. Prints a line a rule; exits 1 if a test passes without its rule or a rule has no test.
"""

import ast
import re
import sys
from collections.abc import Iterator

from mutants import ROOT, Mutant, survivors

from chain.consensus.errors import Reason

_UNREACHABLE = {Reason.FEE_RANGE}  # docs/consensus.md says why it stays


def documented_tests() -> dict[str, list[str]]:
    """Return the pytest ids that docs/consensus.md names, by reason."""
    found = {}
    for line in (ROOT / "docs" / "consensus.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 5 and cells[2].startswith("`"):
            names = re.findall(r"\S+\.py::\w+", cells[3])
            found[cells[2].strip("`")] = [f"tests/consensus/{name}" for name in names]
    return found


def rules() -> Iterator[Mutant]:
    """Yield, for every raise of InvalidError with a literal Reason, the code without it."""
    tests = documented_tests()
    for path in sorted((ROOT / "chain" / "consensus").glob("*.py")):
        file = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and (reason := _reason_of(node)):
                yield Mutant(file, node, "pass", reason, tests.get(reason, ()))


def _reason_of(node: ast.Raise) -> Reason | None:
    """Return the Reason that a raise names as its error's first argument, if it does."""
    arguments = node.exc.args if isinstance(node.exc, ast.Call) else []
    first = arguments[0] if arguments else None
    name = first.attr if isinstance(first, ast.Attribute) else ""
    return Reason.__members__.get(name)


def main() -> None:
    """Check all rules."""
    bad, tested = 0, []
    for rule in rules():
        if rule.name in _UNREACHABLE:
            _print("unreachable", rule)
        elif not rule.tests:
            bad += 1
            _print("NO TEST", rule)
        else:
            tested.append(rule)
    for rule, survived in survivors(tested):
        bad += survived
        _print("SURVIVED" if survived else "caught", rule)
    sys.exit(f"{bad} rules have no test that fails without them" if bad else 0)


def _print(outcome: str, rule: Mutant) -> None:
    print(f"{outcome:<12} {rule.file}:{rule.node.lineno} {rule.name}", flush=True)


if __name__ == "__main__":
    main()
