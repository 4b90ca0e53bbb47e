"""Where wallets are in the data directory: DATADIR/NETWORK/wallets/NAME."""

from pathlib import Path
from typing import Final

import platformdirs

KEY_FILE: Final = "keys.json"


def default_datadir() -> Path:
    """Return the user's data folder, which the node takes too."""
    return Path(platformdirs.user_data_dir("groat", appauthor=False))


def wallets_path(datadir: Path, network: str) -> Path:
    """Return the folder of a network's wallets."""
    return datadir / network / "wallets"


def networks_with_wallets(datadir: Path, name: str = "*") -> list[str]:
    """Return the networks that have a wallet of this name, in order; `*` is any name."""
    return sorted({each.parents[2].name for each in datadir.glob(f"*/wallets/{name}/{KEY_FILE}")})


def wallet_names(datadir: Path, network: str) -> list[str]:
    """Return the names of a network's wallets, in order."""
    return sorted(each.parent.name for each in wallets_path(datadir, network).glob(f"*/{KEY_FILE}"))
