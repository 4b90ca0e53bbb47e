"""A wallet's secret: the words (BIP39) and their optional passphrase."""

import re
import secrets
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from mnemonic import Mnemonic

from chain.primitives.extended_key import ExtendedKey
from chain.primitives.numbers import counted
from wallet.errors import InputError
from wallet.keys.derivation import root

WORD_COUNTS: Final = (12, 15, 18, 21, 24)
NEW_WORD_COUNTS: Final = (12, 24)
_LANGUAGE: Final = "english"
# What stands between words and numbers in lists, tables, CSV and JSON; box drawing included.
_BETWEEN: Final = re.compile(
    r"[\s,;:.|/\\()\[\]{}<>\"'`#*+=_~-]|[\u2010-\u203a\u2500-\u257f\u00b7\u00ab\u00bb]"
)
_NUMBERED: Final = re.compile(r"(\d{1,2})?(\D.*)?", re.ASCII)  # a number may precede a word
_NUMBER: Final = re.compile(r"\d{1,2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Secret:
    """Words and passphrase; never part of a repr.

    Python cannot wipe a str: the secret stays in this process's memory until it ends, so the
    process is short, single-purpose and forbids core dumps (see `process`).
    """

    words: str = field(repr=False)  # lower case, single spaces, checksum right
    passphrase: str = field(default="", repr=False)

    def root(self) -> ExtendedKey:
        """Return the root key (BIP39: PBKDF2 of 2048 rounds, both texts in NFKD)."""
        return root(Mnemonic.to_seed(self.words, self.passphrase))


def new_words(count: int) -> str:
    """Return new random words. Raises InputError: not 12 or 24."""
    if count not in NEW_WORD_COUNTS:
        raise InputError("a new wallet has 12 or 24 words")
    return _english().to_mnemonic(secrets.token_bytes(count * 4 // 3))


def listed_words(text: str) -> list[str]:
    """Return the words of a text, in lower case and without the numbers and marks beside them.

    If each has a number, as in `2. word`, they are sorted by it: a list may be written in
    columns, or be a table. Raises InputError: the numbers do not count the words.
    """
    tokens = _tokens(text)
    words = [token for token in tokens if not _NUMBER.fullmatch(token)]
    numbers = [int(token) for token in tokens if _NUMBER.fullmatch(token)]
    if not numbers:
        return words
    if sorted(numbers) != list(range(1, len(words) + 1)):
        raise InputError("the numbers of the words do not count from 1")
    return [word for _, word in sorted(zip(numbers, words, strict=True))]


def may_be_words(text: str) -> bool:
    """Return whether a text may be the start of a wallet's words: known ones, not too many."""
    words = [token for token in _tokens(text) if not _NUMBER.fullmatch(token)]
    return len(words) <= max(WORD_COUNTS) and _known_words().issuperset(words)


def is_border(line: str) -> bool:
    """Return whether a line has only characters that separate words."""
    return bool(line.strip()) and not _tokens(line)


def _tokens(text: str) -> list[str]:
    """Return numbers and words in order, without what stands between them."""
    tokens: list[str] = []
    for part in _BETWEEN.split(Mnemonic.normalize_string(text).lower()):
        found = _NUMBERED.fullmatch(part)
        tokens += filter(None, found.groups() if found else (part,))
    return tokens


def check_words(text: str) -> str:
    """Return typed words with case, spaces and numbers normalized.

    Raises InputError, which says which word is wrong but never repeats one: wrong count, a word not
    in the list, wrong checksum; as `listed_words`.
    """
    words = listed_words(text)
    if len(words) not in WORD_COUNTS:
        counts = ", ".join(map(str, WORD_COUNTS))
        raise InputError(f"{counted(len(words), 'word')} given; a wallet has one of {counts}")
    for place, word in enumerate(words, 1):
        if word not in _known_words():
            raise InputError(f"word {place} is not in the English list of BIP39")
    regular = " ".join(words)
    if not _english().check(regular):
        raise InputError("the words do not fit together: one is wrong or out of order (checksum)")
    return regular


@cache
def _known_words() -> frozenset[str]:
    return frozenset(_english().wordlist)


@cache
def _english() -> Mnemonic:
    return Mnemonic(_LANGUAGE)
