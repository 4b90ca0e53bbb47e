"""Find the nonce of a genesis block: `scripts/make_genesis main` checks a built-in one.

`scripts/make_genesis FILE.toml` reads a network file's [rules] and prints its nonce.
"""

import hashlib
import multiprocessing
import sys
from pathlib import Path

from chain.consensus.genesis import genesis_block
from chain.consensus.params import NETWORKS, Params, ParamsError, params_from_document
from chain.primitives.compact import target_from_bits
from chain.primitives.numbers import id_text
from chain.text_file import TextFileError, read_toml

_CHUNK = 1 << 20


def _search(job: tuple[bytes, int, int]) -> int | None:
    start_of_header, target, first = job
    midstate = hashlib.sha256(start_of_header[:64])
    tail = start_of_header[64:]
    for nonce in range(first, first + _CHUNK):
        state = midstate.copy()
        state.update(tail + nonce.to_bytes(4, "little"))
        if int.from_bytes(hashlib.sha256(state.digest()).digest(), "little") <= target:
            return nonce
    return None


def find_nonce(params: Params) -> int:
    """Return the lowest nonce that meets the genesis bits."""
    target = target_from_bits(params.genesis_bits)
    if target is None:
        sys.exit("make_genesis: genesis_bits are not a valid target")
    start = genesis_block(params).header.encode()[:76]
    jobs = ((start, target, first) for first in range(0, 1 << 32, _CHUNK))
    with multiprocessing.Pool() as pool:
        for nonce in pool.imap(_search, jobs):
            if nonce is not None:
                return nonce
    sys.exit("make_genesis: no nonce works; change genesis_time or genesis_message")


def _network(name: str) -> Params:
    if name in NETWORKS:
        return NETWORKS[name]
    try:
        return params_from_document(read_toml(Path(name)))
    except TextFileError as error:
        sys.exit(f"make_genesis: {error}")
    except ParamsError as error:
        sys.exit(f"make_genesis: {name}: {error}")


def main() -> None:
    """Read the network named on the command line, search, and print the result."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    params = _network(sys.argv[1])
    nonce = find_nonce(params)
    print(f"genesis_nonce={nonce}")
    if nonce == params.genesis_nonce:
        print(f"which is what the network has; its id is {id_text(genesis_block(params).id)}")


if __name__ == "__main__":
    main()
