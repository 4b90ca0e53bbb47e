"""The wallet reads a network file as the node does."""

from dataclasses import asdict, replace

import pytest

from chain.consensus.params import REGTEST
from wallet.errors import InputError
from wallet.network import find_network, local_node

OWN = replace(REGTEST, name="own")


@pytest.mark.parametrize("port", ["-1", "65536", "true", "1.5", '"7"', "inf", "9" * 30])
def test_a_port_that_is_none_is_named_and_not_dialled(tmp_path, port):
    path = tmp_path / "own.toml"
    path.write_text(f"[ports]\napi = {port}\n")
    with pytest.raises(InputError, match=r"'api' must be a whole number|api: an integer") as caught:
        local_node(OWN, str(path))
    assert len(str(caught.value).splitlines()) == 1


def test_a_port_that_is_any_free_one_is_no_place_to_connect_to(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("[ports]\napi = 0\n")
    with pytest.raises(InputError, match="--node URL"):
        local_node(OWN, str(path))


@pytest.mark.parametrize(
    "data",
    [
        b"a = " + b"[" * 3000,
        b"a = " + b"[\n" * 30_000,
        b"a = 1" + b"0" * 4000,
        "[rules]".encode("utf-16"),
        b"[rules]\nname = '\xe9'",
        b"[rules]\ngenesis_value = 99999999999999999999",
        b"rules = 1",
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_no_network_file_ends_in_one_line(tmp_path, data):
    path = tmp_path / "own.toml"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"network file .*own\.toml") as caught:
        find_network(str(path))
    assert len(str(caught.value).splitlines()) == 1


def test_a_byte_order_mark_is_taken(tmp_path):
    lines = [
        f"{name} = {value}" if isinstance(value, int) else f'{name} = "{text(value)}"'
        for name, value in asdict(OWN).items()
    ]
    path = tmp_path / "own.toml"
    path.write_bytes("\n".join(["[rules]", *lines]).encode("utf-8-sig"))
    assert find_network(str(path)) == OWN


def text(value: str | bytes) -> str:
    return value.hex() if isinstance(value, bytes) else value
