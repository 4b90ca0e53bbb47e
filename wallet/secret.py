"""What a wallet must never lose or show: the words (BIP39) and their optional passphrase."""

import secrets
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from mnemonic import Mnemonic

from wallet.derivation import Node, root
from wallet.errors import InputError

WORD_COUNTS: Final = (12, 15, 18, 21, 24)
NEW_WORD_COUNTS: Final = (12, 24)
_LANGUAGE: Final = "english"


@dataclass(frozen=True, slots=True)
class Secret:
    """Words and passphrase; never part of a repr.

    Python cannot wipe a str: the secret stays in this process's memory until it ends, so the
    process is short, single-purpose and forbids core dumps (see `process`).
    """

    words: str = field(repr=False)  # lower case, single spaces, checksum right
    passphrase: str = field(default="", repr=False)

    def root(self) -> Node:
        """Return the root key (BIP39: PBKDF2 of 2048 rounds, both texts in NFKD)."""
        return root(Mnemonic.to_seed(self.words, self.passphrase))


def new_words(count: int) -> str:
    """Return new random words. Raises InputError: not 12 or 24."""
    if count not in NEW_WORD_COUNTS:
        raise InputError("a new wallet has 12 or 24 words")
    return _english().to_mnemonic(secrets.token_bytes(count * 4 // 3))


def check_words(text: str) -> str:
    """Return words that were typed, with case and spaces made regular.

    Raises InputError, which says which word is wrong but never repeats one: wrong count, a word not
    in the list, wrong checksum.
    """
    words = Mnemonic.normalize_string(text).lower().split()
    if len(words) not in WORD_COUNTS:
        counts = ", ".join(map(str, WORD_COUNTS))
        raise InputError(f"{len(words)} words given; a wallet has one of {counts}")
    known = frozenset(_english().wordlist)
    for place, word in enumerate(words, 1):
        if word not in known:
            raise InputError(f"word {place} is not in the English list of BIP39")
    regular = " ".join(words)
    if not _english().check(regular):
        raise InputError("the words do not fit together: one is wrong or out of order (checksum)")
    return regular


@cache
def _english() -> Mnemonic:
    return Mnemonic(_LANGUAGE)
