"""The wallet reads a network file as the node does."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chain.api_address import published_api_address
from chain.consensus.params import REGTEST, network_identity
from chain.endpoint import Endpoint
from wallet.command_line import app
from wallet.errors import InputError
from wallet.network import find_network, local_node

OWN = replace(REGTEST, name="own")


@pytest.mark.parametrize("port", ["-1", "65536", "true", "1.5", '"7"', "inf", "9" * 30])
def test_a_port_that_is_none_is_named_and_not_dialled(tmp_path, port):
    path = tmp_path / "own.toml"
    path.write_text(f"[ports]\napi = {port}\n")
    with pytest.raises(InputError, match=r"'api' must be a whole number|api: an integer") as caught:
        local_node(OWN, str(path), tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_node_of_the_wallets_own_folder_is_found_on_any_port(tmp_path, host):
    folder = tmp_path / "regtest"
    folder.mkdir()
    assert local_node(REGTEST, "regtest", tmp_path) == "http://127.0.0.1:39445/api"
    with published_api_address(folder, Endpoint(host, 1234)):
        assert local_node(REGTEST, "regtest", tmp_path) == "http://127.0.0.1:1234/api"
        assert local_node(REGTEST, "regtest", tmp_path / "other") == "http://127.0.0.1:39445/api"
    assert local_node(REGTEST, "regtest", tmp_path) == "http://127.0.0.1:39445/api"


def test_a_port_that_is_any_free_one_is_no_place_to_connect_to(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("[ports]\napi = 0\n")
    with pytest.raises(InputError, match="--node URL"):
        local_node(OWN, str(path), tmp_path)


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
    path = tmp_path / "own.toml"
    path.write_bytes(Path(own_network(path)).read_text().encode("utf-8-sig"))
    assert find_network(str(path)) == OWN


def text(value: str | bytes) -> str:
    return value.hex() if isinstance(value, bytes) else value


def own_network(path, more=""):
    """Write a network file that takes regtest's rules, with `more` below them."""
    lines = [
        f"{name} = {value}" if isinstance(value, int) else f'{name} = "{text(value)}"'
        for name, value in asdict(OWN).items()
    ]
    path.write_text("\n".join(["[rules]", *lines, more]))
    return str(path)


def test_a_network_whose_coins_are_worthless_has_wallets_without_a_password(cli, tmp_path):
    cli.network = own_network(tmp_path / "own.toml", "[coins]\nworthless = true")
    made = cli.json("create", "--no-password")
    assert made["network"] == "own"
    assert cli.json("show-seed")["words"] == made["words"]
    assert cli.json("list")[0]["state"] == "clear text"
    cli.json("password", stdin="battery staple\n")
    assert cli.json("password", "--no-password", stdin="battery staple\n")["state"] == "clear text"


@pytest.mark.parametrize("more", ["", "[coins]\nworthless = false", "[coins]\n"])
def test_another_network_has_none_and_the_error_says_how(cli, tmp_path, more):
    cli.network = own_network(tmp_path / "own.toml", more)
    error = cli.error("create", "--no-password", code=5)
    assert "worthless = true under [coins]" in error


def test_a_wallet_in_clear_text_is_refused_once_its_coins_have_worth(cli, tmp_path):
    cli.network = own_network(tmp_path / "own.toml", "[coins]\nworthless = true")
    cli.run("create", "--no-password")
    own_network(tmp_path / "own.toml")
    assert "without a password" in cli.error("show-seed", code=5)


@pytest.mark.parametrize(
    "more", ["[coins]\nworthless = 1", '[coins]\nworthless = "true"', "[coins]\nworth = 0"]
)
def test_a_mistake_about_worthless_coins_is_named(cli, tmp_path, more):
    path = own_network(tmp_path / "own.toml", more)
    with pytest.raises(InputError, match=r"\[coins\]"):
        find_network(path)


@pytest.mark.parametrize("command", ["balance", "history", "info", "address"])
def test_looking_needs_no_port_in_the_network_file_either(cli, tmp_path, command):
    cli.network = own_network(tmp_path / "own.toml", "[coins]\nworthless = true\n[ports]\napi = 0")
    cli.run("create", "--no-password")
    flags = ["--network", cli.network, "--datadir", str(cli.datadir), command]
    if command != "address":
        never = CliRunner().invoke(app, flags)
        assert (never.exit_code, never.stdout) == (2, ""), "nothing was seen of any node yet"
        cli.run("balance")
    done = CliRunner().invoke(app, flags)
    assert done.exit_code == 0
    assert "no default port for network own: give --node URL" in done.stderr
    assert command == "address" or f"as {cli.node} gave it" in done.stderr


@pytest.mark.parametrize(
    ("field", "value"), [("network", "other"), ("identity", "ab" * 32), ("network", "x\x1b[31m")]
)
def test_a_node_with_the_same_genesis_but_other_rules_is_refused(cli, stub, tmp_path, field, value):
    cli.network = own_network(tmp_path / "own.toml", "[coins]\nworthless = true")
    cli.run("create", "--no-password")
    cli.run("balance")
    identity = network_identity(find_network(cli.network)).hex()
    same = {"network": "own", "identity": identity}
    stub.override["/api/v1/status"] = (200, json.dumps(same).encode())
    cli.run("balance")
    stub.override["/api/v1/status"] = (200, json.dumps(same | {field: value}).encode())
    error = cli.error("balance", code=4)
    assert "is not of network own, though their genesis is the same" in error
    assert f"its {field} is {value.replace(chr(27), '?')}, not {same[field]}" in error


@pytest.mark.parametrize(
    "answer", [(200, b"<!doctype html>"), (404, b""), (500, b"no"), (200, b"[1]"), (200, b"{}")]
)
def test_a_server_that_says_nothing_of_its_rules_is_taken(cli, stub, tmp_path, answer):
    cli.network = own_network(tmp_path / "own.toml", "[coins]\nworthless = true")
    cli.run("create", "--no-password")
    stub.override["/api/v1/status"] = answer
    assert cli.json("balance")["total"] == 0
