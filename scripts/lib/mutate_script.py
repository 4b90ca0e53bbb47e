"""Change the script engine in one place after another, and see whether its tests notice.

Three kinds of change: a refusal is taken out, a limit is one more or one less, and a condition of
the signature hashes is turned round. Prints a line a change; exits 1 if one survives. The vectors
are looked for as the tests do it; without them, the choice in the repository is enough. Each
processor has a copy of the code.
"""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

_ROOT = Path(__file__).resolve().parents[2]
_ENGINE = "chain/script"
_LIMITS = {
    "chain/script/machine.py": ("OPERATIONS_MAX", "STACK_ITEMS_MAX", "ITEM_BYTES_MAX"),
    "chain/script/checksig.py": ("MULTISIG_KEYS_MAX", "_SIGNATURE_WEIGHT"),
    "chain/script/taproot.py": ("_PATH_MAX", "_BUDGET_OFFSET", "ANNEX_TAG", "TAPSCRIPT_LEAF"),
    "chain/script/number.py": ("NUMBER_BYTES_MAX", "LOCK_TIME_BYTES_MAX"),
    "chain/primitives/script.py": ("SCRIPT_BYTES_MAX", "_MULTISIG_KEYS_MAX"),
}
_HASHES = ("chain/script/hashes.py", "chain/primitives/sighash.py")
_TESTS = (
    "tests/script/test_engine.py",
    "tests/script/test_errors.py",
    "tests/script/test_vectors.py",
    "tests/primitives/test_signature.py::test_generated_digests_of_all_hash_types",
)


@dataclass(frozen=True)
class Change:
    """Other text in place of one node's."""

    file: str
    node: ast.expr | ast.stmt
    text: str
    name: str


def changes() -> Iterator[Change]:
    """Yield every change."""
    for path in sorted((_ROOT / _ENGINE).glob("*.py")):
        yield from _refusals(str(path.relative_to(_ROOT)))
    for file, names in _LIMITS.items():
        yield from _limits(file, names)
    for file in _HASHES:
        yield from _conditions(file)


def _refusals(file: str) -> Iterator[Change]:
    for node in ast.walk(ast.parse((_ROOT / file).read_text())):
        if isinstance(node, ast.Expr) and ast.unparse(node).startswith("fail("):
            yield Change(file, node, "pass", f"without {ast.unparse(node)}")


def _limits(file: str, names: Sequence[str]) -> Iterator[Change]:
    for node in ast.parse((_ROOT / file).read_text()).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) in names:
            assert isinstance(node.value, ast.Constant), "a limit is a number"
            for other in (node.value.value - 1, node.value.value + 1):
                yield Change(file, node.value, str(other), f"{ast.unparse(node.target)} = {other}")


def _conditions(file: str) -> Iterator[Change]:
    for node in ast.walk(ast.parse((_ROOT / file).read_text())):
        if isinstance(node, ast.If | ast.IfExp) and not _is_cache(node.test):
            turned = f"(not ({ast.unparse(node.test)}))"
            yield Change(file, node.test, turned, f"if {turned}")


def _is_cache(test: ast.expr) -> bool:
    """Return whether a condition only asks whether something was computed before."""
    text = ast.unparse(test)
    return "self._" in text or text.startswith("TYPE_CHECKING")


def survives(tree: Path, change: Change) -> bool:
    """Make a change in `tree`, run the tests, and take it back."""
    path = tree / change.file
    original = path.read_text()
    lines = original.splitlines()
    node = change.node
    assert node.end_lineno is not None, "parsed code has places"
    before = lines[node.lineno - 1][: node.col_offset]
    behind = lines[node.end_lineno - 1][node.end_col_offset :]
    lines[node.lineno - 1 : node.end_lineno] = [before + change.text + behind]
    path.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *_TESTS]
    vectors = os.environ.get("GROAT_VECTORS", str(_ROOT.parent / "shared" / "vectors"))
    environment = {**os.environ, "PYTHONPATH": str(tree), "GROAT_VECTORS": vectors}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    try:
        run = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return False  # noticed: it never ends
    finally:
        path.write_text(original)
    return run.returncode == 0


def copy_tree(tree: Path) -> Path:
    """Copy what the tests need to `tree`."""
    for name in ("chain", "tests"):
        shutil.copytree(_ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(_ROOT / "pyproject.toml", tree)
    return tree


def main() -> None:
    """Make each change."""
    jobs = os.cpu_count() or 1
    survivors = 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        trees: Queue[Path] = Queue()
        for job in range(jobs):
            trees.put(copy_tree(Path(folder, str(job))))

        def tried(change: Change) -> bool:
            tree = trees.get()
            try:
                return survives(tree, change)
            finally:
                trees.put(tree)

        every = list(changes())
        for change, survived in zip(every, pool.map(tried, every), strict=True):
            survivors += survived
            outcome = "SURVIVED" if survived else "caught  "
            print(f"{outcome}  {change.file}:{change.node.lineno} {change.name}", flush=True)
    sys.exit(f"{survivors} changes survive the tests" if survivors else 0)


if __name__ == "__main__":
    main()
