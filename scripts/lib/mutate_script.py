"""Change the script engine in one place after another, and see whether its tests notice.

Three kinds of change: a refusal is taken out, a limit is one more or one less, and a condition of
the signature hashes is turned round. Prints a line a change; exits 1 if one survives. Without the
public vectors, the choice in the repository is enough.
"""

import ast
import sys
from collections.abc import Iterator, Sequence

from mutants import ROOT, Mutant, survivors

_ENGINE = "chain/script"
_LIMITS = {
    "chain/script/machine.py": ("OPERATIONS_MAX", "STACK_ITEMS_MAX", "ITEM_BYTES_MAX"),
    "chain/script/checksig.py": ("MULTISIG_KEYS_MAX", "_SIGNATURE_WEIGHT"),
    "chain/script/taproot.py": ("_PATH_MAX", "_BUDGET_OFFSET", "ANNEX_TAG", "TAPSCRIPT_LEAF"),
    "chain/script/number.py": ("NUMBER_BYTES_MAX", "LOCK_TIME_BYTES_MAX"),
    "chain/primitives/script.py": ("SCRIPT_BYTES_MAX", "_MULTISIG_KEYS_MAX"),
}
_HASHES = ("chain/script/hashes.py", "chain/primitives/sighash.py")
_RULES = "tests/script/test_engine.py"
_ERRORS = "tests/script/test_errors.py"
_VECTORS = "tests/script/test_vectors.py"
_DIGESTS = "tests/primitives/test_signature.py::test_generated_digests_of_all_hash_types"
# Each runs all of them, first those that are most likely to notice.
_OF_REFUSALS = (_ERRORS, _RULES, _VECTORS, _DIGESTS)
_OF_LIMITS = (_RULES, _ERRORS, _VECTORS, _DIGESTS)
_OF_CONDITIONS = (_DIGESTS, _VECTORS, _RULES, _ERRORS)


def changes() -> Iterator[Mutant]:
    """Yield every change."""
    for path in sorted((ROOT / _ENGINE).glob("*.py")):
        yield from _refusals(str(path.relative_to(ROOT)))
    for file, names in _LIMITS.items():
        yield from _limits(file, names)
    for file in _HASHES:
        yield from _conditions(file)


def _refusals(file: str) -> Iterator[Mutant]:
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Expr) and ast.unparse(node).startswith("fail("):
            yield Mutant(file, node, "pass", f"without {ast.unparse(node)}", _OF_REFUSALS)


def _limits(file: str, names: Sequence[str]) -> Iterator[Mutant]:
    for node in ast.parse((ROOT / file).read_text()).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) in names:
            assert isinstance(node.value, ast.Constant), "a limit is a number"
            for other in (node.value.value - 1, node.value.value + 1):
                name = f"{ast.unparse(node.target)} = {other}"
                yield Mutant(file, node.value, str(other), name, _OF_LIMITS)


def _conditions(file: str) -> Iterator[Mutant]:
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.If | ast.IfExp) and not _is_cache(node.test):
            turned = f"(not ({ast.unparse(node.test)}))"
            yield Mutant(file, node.test, turned, f"if {turned}", _OF_CONDITIONS)


def _is_cache(test: ast.expr) -> bool:
    """Return whether a condition only asks whether something was computed before."""
    text = ast.unparse(test)
    return "self._" in text or text.startswith("TYPE_CHECKING")


def main() -> None:
    """Make each change."""
    count = 0
    for change, survived in survivors(list(changes())):
        count += survived
        outcome = "SURVIVED" if survived else "caught  "
        print(f"{outcome}  {change.file}:{change.node.lineno} {change.name}", flush=True)
    sys.exit(f"{count} changes survive the tests" if count else 0)


if __name__ == "__main__":
    main()
