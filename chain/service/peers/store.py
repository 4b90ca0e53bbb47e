"""peers.json: what the gossip core keeps across restarts, replaced as a whole or not at all."""

import base64
import contextlib
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

FILE_NAME: Final = "peers.json"
FILE_BYTES_MAX: Final = 64 * 1024 * 1024
VERSION: Final = 1
SECRET_BYTES: Final = 32


class StoreError(ValueError):
    """A peers file that cannot be understood; says why."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A peers file's content: the secret that the core's tables are keyed by, and their bytes."""

    secret: bytes = field(default_factory=lambda: secrets.token_bytes(SECRET_BYTES), repr=False)
    saved: dict[str, bytes] = field(default_factory=dict)


def load(folder: Path) -> Kept:
    """Return what the file holds; a new secret and nothing else if there is none.

    Raises StoreError: it is damaged, or of a later version. Nothing in it is worth a refusal to
    start: the caller may go on with `Kept()`.
    """
    path = folder / FILE_NAME
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise StoreError("too large")
        document = json.loads(path.read_bytes())
        if document["version"] != VERSION:
            raise StoreError(f"version {document['version']!r}")
        secret = bytes.fromhex(document["secret"])
        saved = {
            str(name): base64.b64decode(text, validate=True)
            for name, text in document["saved"].items()
        }
    except FileNotFoundError:
        return Kept()
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise StoreError(f"{FILE_NAME}: {error}") from error
    if len(secret) != SECRET_BYTES:
        raise StoreError(f"{FILE_NAME}: a secret of {len(secret)} bytes")
    return Kept(secret, saved)


def save(folder: Path, kept: Kept) -> None:
    """Replace the file, so that a crash leaves the old one or the new one. Raises OSError."""
    saved = {name: base64.b64encode(data).decode() for name, data in kept.saved.items()}
    document = {"version": VERSION, "secret": kept.secret.hex(), "saved": saved}
    path = folder / FILE_NAME
    temporary = path.with_name(path.name + ".new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with open(os.open(temporary, flags, 0o600), "w", encoding="ascii") as file:  # noqa: PTH123
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Make the new name last; not every system can sync a folder, and then nothing is lost."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
