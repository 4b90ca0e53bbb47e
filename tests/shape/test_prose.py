"""The words of docstrings, comments, names and pages: the field's, in plain modern English.

Noun first, Bitcoin Core's or a BIP's word if there is one. The lists are short on purpose: a word
belongs here if readers stumbled over it, with what to write instead.
"""

import ast
import builtins
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sorted(
    path
    for folder in ("alembic", "chain", "scripts", "wallet")
    for path in (ROOT / folder).rglob("*.py")
)
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.stem != "renames"),
]
# A pattern, and what to write instead.
BANNED_PROSE = {
    r"\btill\b": "until",
    r"\bwhereupon\b|\bwhence\b|\bhither\b|\bthither\b": "then, from which, here, there",
    r"\bthrice\b": "three times",
    r"\banew\b": "again",
    r"\b(?:is|are) none(?= *[.,;:)]| *$)": "does not exist, is not one; None is Python's",
    r"\bof which none\b": "none of which",
    r"\bbe (?:they|it)\b": "whatever, whether",
    r"\bmidst\b": "middle, while",
    r"\bbut for\b|\bsave for\b": "except",
    r"\bnothing but\b|\ball but\b(?! all)": "only, all except",
    r"\bby chance\b|\bno chance\b": "at random, no randomness",
    r"\b(?:bytes|offset|offsets|comes?|stands?) behind\b": "after",
    r"\bbad weather\b": "faults",
    r"\bcondemn": "mark invalid",
    r"\bin vain\b": "without success",
    r"\blet in\b": "admitted",
}
# Nouns with a number before them.
COUNTED = r"(?:blocks|coins|nodes|peers|transactions|words)\b(?!/)"
# A part of an identifier, and what to name instead.
BANNED_NAMES = {
    "told": "announced, reported",
    "tell": "announce, report, print",
    "teller": "display",
    "hurry": "bump",
    "wish": "request, options",
    "till": "until; spend session",
    "moment": "snapshot, time",
    "deal": "payment",
    "shelves": "buckets",
    "chance": "random source, probability",
    "trouble": "error, problem",
    "gone": "removed, closed",
    "asked": "requested, request",
    "waiting": "unconfirmed, orphaned, queued or pending",
    "strange": "invalid, unknown",
    "offered": "announced, submitted",
}
# Quoted words that are no names of this tree.
FOREIGN_NAMES = {"CScript"}
COMMENT = re.compile(r"(?:^ *|  )# .*$")
QUOTED = re.compile(r"`([A-Za-z_][\w.]*)(?:\([^`()]*\))?`")
DESCRIBED = re.compile(
    r"(?:^|[.;] |\n\n)\s*`([a-z_]\w*)` (?:is|are|holds|has|must|replaces|gives)\b"
)


@dataclass(frozen=True)
class Source:
    """A Python file: its tree, its prose by line, and its other lines without comments."""

    name: str
    tree: ast.Module
    nodes: tuple[ast.AST, ...]
    prose: tuple[tuple[int, str], ...]
    code: tuple[str, ...]


def _read(path: Path) -> Source:
    text = path.read_text()
    lines = text.splitlines()
    tree = ast.parse(text)
    nodes = tuple(ast.walk(tree))
    prose = []
    code = [COMMENT.sub("", line) for line in lines]
    for node in nodes:
        match node:
            case ast.Expr(value=ast.Constant(value=str(doc))):
                prose.append((node.lineno, doc))
                code[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    for number, line in enumerate(lines, 1):
        if found := COMMENT.search(line):
            prose.append((number, found[0]))
    return Source(path.relative_to(ROOT).as_posix(), tree, nodes, tuple(prose), tuple(code))


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    return [_read(path) for path in PYTHON]


@pytest.fixture(scope="module")
def known_names(sources) -> set[str]:
    """All names in the code, its strings, and the names of files and folders."""
    known = {*dir(builtins), *FOREIGN_NAMES}
    for source in sources:
        known.update(source.name.removesuffix(".py").split("/"), source.name.split("/"))
        known.update(*(re.findall(r"\w+", line) for line in source.code))
    return known


def _banned(place: str, line: int, text: str) -> Iterator[str]:
    for pattern, instead in BANNED_PROSE.items():
        for found in re.finditer(pattern, text):
            at = line + text.count("\n", 0, found.start())
            yield f"{place}:{at}: {found[0]!r}: write {instead}"


def test_docstrings_and_comments_have_plain_words(sources):
    found = [
        finding
        for source in sources
        for line, text in source.prose
        for finding in _banned(source.name, line, text)
    ]
    assert found == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_have_plain_words(page):
    assert list(_banned(page.name, 1, page.read_text())) == []


def test_the_list_of_words_finds_them():
    """A list that is not applied would let everything pass."""
    found = list(_banned("x.md", 1, "Wait till noon,\nas there is none."))
    assert [finding.split(": ")[0] for finding in found] == ["x.md:1", "x.md:2"]


def _given_name(node: ast.AST) -> str:
    """Return the name that a node gives to a function, class, parameter or variable, or ""."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return node.name
        case ast.arg():
            return node.arg
        case ast.Name(ctx=ast.Store()):
            return node.id
        case ast.Attribute(ctx=ast.Store()):
            return node.attr
    return ""


def test_names_are_the_words_of_the_field(sources):
    found = [
        f"{source.name}:{node.lineno}: {name}: name it {BANNED_NAMES[word]}"
        for source in sources
        for node in source.nodes
        if (name := _given_name(node))
        for word in re.sub("([A-Z])", r"_\1", name).lower().split("_")
        if word in BANNED_NAMES
    ]
    assert found == []


def test_every_name_that_a_docstring_quotes_exists(sources, known_names):
    """A renamed function or parameter leaves its old name in prose, where nothing else fails."""
    found = [
        f"{source.name}:{line + text.count(chr(10), 0, quoted.start())}: `{quoted[1]}`"
        for source in sources
        for line, text in source.prose
        for quoted in QUOTED.finditer(text)
        if not known_names.issuperset(quoted[1].split("."))
    ]
    assert found == []


def test_every_parameter_that_a_docstring_describes_is_one(sources):
    """What stands in front of "is" or "holds" is a parameter, or another name of the function."""
    found = []
    for source in sources:
        for node in source.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                described = set(DESCRIBED.findall(ast.get_docstring(node) or ""))
                code = " ".join(source.code[node.lineno - 1 : node.end_lineno])
                found += [
                    f"{source.name}:{node.lineno}: `{name}` of {node.name}"
                    for name in described.difference(re.findall(r"\w+", code))
                ]
    assert found == []


def _methods(node: ast.ClassDef) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    return {
        child.name: child
        for child in node.body
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        and not child.name.startswith("_")
    }


def _members(node: ast.ClassDef) -> set[str]:
    """Return the names of a class's methods and of what it assigns in its body or to self."""
    return {name for child in ast.walk(node) if (name := _given_name(child))}


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).split("[")[0] == "Protocol" for base in node.bases)


def test_a_docstring_is_given_by_the_protocol_or_else_by_each_class(sources):
    """A method has a docstring unless its class has all members of a Protocol that gives it."""
    classes = [
        (source, node)
        for source in sources
        if source.name.startswith(("chain/", "wallet/"))
        for node in source.nodes
        if isinstance(node, ast.ClassDef)
    ]
    protocols = [_methods(node) for _, node in classes if _is_protocol(node)]
    missing, repeated = [], []
    for source, node in classes:
        methods = _methods(node)
        members = _members(node)
        followed = [other for other in protocols if other and members.issuperset(other)]
        for name, method in methods.items():
            place = f"{source.name}:{method.lineno}: {node.name}.{name}"
            texts = {ast.get_docstring(other[name]) for other in followed if name in other}
            text = ast.get_docstring(method)
            if text is None and texts <= {None} and not node.name.startswith("_"):
                missing.append(place)
            if text is not None and text in texts and not _is_protocol(node):
                repeated.append(place)
    assert missing == []
    assert repeated == []


def test_a_number_and_its_noun_agree(sources):
    found = [
        f"{source.name}:{node.lineno}: write counted(number, noun)"
        for source in sources
        if source.name.startswith(("chain/", "wallet/"))
        for node in source.nodes
        if _is_plural_of_any_number(node)
    ]
    assert found == []


def _is_plural_of_any_number(node: ast.AST) -> bool:
    """Return whether a text would say `1 blocks`; a constant, or a ratio, never is 1."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and re.search(f"%d {COUNTED}", node.value) is not None
    return isinstance(node, ast.JoinedStr) and any(
        isinstance(value, ast.FormattedValue)
        and isinstance(text, ast.Constant)
        and re.match(f" {COUNTED}", text.value) is not None
        and any(isinstance(name, ast.Name) and not name.id.isupper() for name in ast.walk(value))
        for value, text in pairwise(node.values)
    )
