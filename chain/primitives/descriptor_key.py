"""The keys of descriptors (BIP380, BIP389): one key, or one for each child of an extended key."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from chain.primitives.descriptor import DescriptorError
from chain.primitives.extended_key import ExtendedKey, decode_node
from chain.primitives.hashes import hash160
from chain.primitives.key_origin import (
    HARDENED,
    DerivationError,
    Origin,
    child_number,
    parse_origin,
)
from chain.primitives.signature import is_public_key

PATHS_MAX: Final = 16  # of a key with several ones, as in <0;1>
_STEP: Final = r"\d{1,10}[hH']?"
_MULTIPATH: Final = re.compile(f"<({_STEP}(?:;{_STEP})+)>", re.ASCII)
_FORM: Final = re.compile(
    r"(?:\[(?P<origin>[^\[\]]*)\])?(?P<key>\w+)"
    rf"(?P<path>(?:/(?:{_STEP}|<[^<>/]*>))*)(?P<range>/\*[hH']?)?",
    re.ASCII,
)
_PRIVATE: Final = re.compile(r"[xt]prv\w+|[5KLc9]\w{50,51}", re.ASCII)


@dataclass(frozen=True, slots=True)
class DescriptorKey:
    """A public key, or if it is ranged, a public key for each index."""

    text: str  # as a descriptor has it, with one path
    origin: Origin  # of `node`: of its parent if the key is ranged
    node: ExtendedKey | bytes  # bytes: a compressed public key
    is_ranged: bool

    def public_key(self, index: int = 0) -> bytes:
        """Return the key of an index; any, if it is not ranged. Raises DescriptorError: none."""
        if isinstance(self.node, bytes):
            return self.node
        try:
            return (self.node.child(index) if self.is_ranged else self.node).public_key
        except DerivationError as error:
            raise DescriptorError(str(error)) from error

    def origin_at(self, index: int = 0) -> Origin:
        """Return the origin of the key of an index."""
        path = self.origin.path
        return Origin(self.origin.fingerprint, (*path, index) if self.is_ranged else path)


def parse_key(text: str, *, is_test: bool) -> list[DescriptorKey]:
    """Return a key expression's keys, one for each path; `is_test`: tpub instead of xpub.

    Raises DescriptorError: not one, private, of another network, or hardened below a public key.
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise DescriptorError("not a key of a descriptor")
    if _PRIVATE.fullmatch(form["key"]):
        raise DescriptorError("a private key, which is not supported: use the public descriptor")
    origin = None
    try:
        if form["origin"] is not None:
            origin = parse_origin(form["origin"])
        if form["key"][:2] in {"02", "03"} and len(form["key"]) == 66:
            return [_single(form, origin)]
        node = decode_node(form["key"])
        if node.encode(test=is_test) != form["key"]:
            raise DescriptorError("the extended key is of another network")
        if form["range"] not in {None, "/*"}:
            raise DescriptorError("an extended public key has no hardened children")
        return [_descended(form, node, origin, path) for path in _paths(form["path"])]
    except DerivationError as error:
        raise DescriptorError(str(error)) from error


def _single(form: re.Match[str], origin: Origin | None) -> DescriptorKey:
    if form["path"] or form["range"]:
        raise DescriptorError("a key that is not extended has no children")
    try:
        key = bytes.fromhex(form["key"])
    except ValueError:
        raise DescriptorError("not a key: not hex") from None
    if not is_public_key(key):  # coins sent there could never be spent
        raise DescriptorError(f"Pubkey '{form['key'].lower()}' is invalid")
    text = _with_origin(origin, form, form["key"].lower())
    return DescriptorKey(text, origin or Origin(hash160(key)[:4], ()), key, is_ranged=False)


def _descended(
    form: re.Match[str], node: ExtendedKey, origin: Origin | None, path: str
) -> DescriptorKey:
    """Return the key below `node` at a path without alternatives. Raises DerivationError."""
    numbers = [child_number(step) for step in path.split("/")[1:]]
    if any(number >= HARDENED for number in numbers):
        raise DescriptorError("an extended public key has no hardened children")
    found = origin or Origin(node.fingerprint, ())
    text = _with_origin(origin, form, form["key"] + path + (form["range"] or ""))
    return DescriptorKey(
        text,
        Origin(found.fingerprint, (*found.path, *numbers)),
        node.descend(*numbers),
        is_ranged=form["range"] is not None,
    )


def _with_origin(origin: Origin | None, form: re.Match[str], text: str) -> str:
    """Return a key's text with its origin as it was given, the fingerprint in lower case."""
    if origin is None:
        return text
    return f"[{form['origin'][:8].lower()}{form['origin'][8:]}]{text}"


def _paths(path: str) -> Iterator[str]:
    """Yield the paths of one with at most one tuple of alternatives. Raises DescriptorError."""
    tuples = list(islice(_MULTIPATH.finditer(path), 2))
    if path.count("<") != len(tuples) or len(tuples) > 1:
        raise DescriptorError("a key has at most one <NUMBER;NUMBER>, of two or more numbers")
    if not tuples:
        yield path
        return
    [found] = tuples
    steps = found[1].split(";")
    if len(steps) > PATHS_MAX or len(set(map(child_number, steps))) < len(steps):
        raise DescriptorError(f"<...> holds at most {PATHS_MAX} numbers, and none twice")
    for step in steps:
        yield path[: found.start()] + step + path[found.end() :]
