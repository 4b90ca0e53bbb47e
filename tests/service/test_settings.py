"""Flags before environment before file; every wrong setting is named."""

from dataclasses import asdict, replace

import pytest

from chain.consensus.params import DEVNET, NETWORKS, REGTEST
from chain.settings import (
    PORTS,
    Endpoint,
    SettingsError,
    _Sources,
    load_settings,
    parse_endpoint,
)
from wallet.errors import InputError
from wallet.network import find_network

ADDRESS = "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    for name in ("NETWORK", "DATADIR", "PEER", "P2P", "API", "MINE", "DISCOVERY"):
        monkeypatch.delenv(f"GROAT_{name}", raising=False)
    monkeypatch.setenv("GROAT_DATADIR", str(tmp_path))


def toml(value: object) -> str:
    if isinstance(value, bytes):
        return f'"{value.hex()}"'
    return f'"{value}"' if isinstance(value, str) else str(value)


def network_file(path, **changes):
    rules = asdict(replace(DEVNET, name="mine")) | changes
    lines = "\n".join(f"{name} = {toml(value)}" for name, value in rules.items())
    path.write_text(f"[rules]\n{lines}\n[ports]\np2p = 1111\napi = 2222\n")
    return str(path)


def test_defaults_are_those_of_main(tmp_path):
    settings = load_settings({})
    assert settings.params is NETWORKS["main"]
    assert settings.folder == tmp_path / "main"
    assert settings.api == Endpoint("127.0.0.1", PORTS["main"].api)
    assert settings.p2p.port == PORTS["main"].p2p
    assert settings.database == tmp_path / "main" / "ledger.sqlite"
    assert not settings.discovery


def test_only_devnet_looks_for_neighbours_by_itself():
    assert [n for n in NETWORKS if load_settings({"network": n}).discovery] == ["devnet"]
    assert not load_settings({"network": "devnet", "discovery": False}).discovery
    assert load_settings({"network": "main", "discovery": True}).discovery


def test_flags_go_before_the_environment_before_the_file(monkeypatch, tmp_path):
    (tmp_path / "groat.toml").write_text(
        'network = "test"\napi = "127.0.0.1:1"\nmine_threads = 3\n'
    )
    assert load_settings({}).params.name == "test"
    monkeypatch.setenv("GROAT_NETWORK", "devnet")
    monkeypatch.setenv("GROAT_API", "127.0.0.1:2")
    assert load_settings({"network": "regtest"}).params is REGTEST
    settings = load_settings({"network": None})
    assert settings.params.name == "devnet"
    assert (settings.api.port, settings.mine_threads) == (2, 3)


def test_peers_in_the_environment_are_separated_by_commas(monkeypatch):
    monkeypatch.setenv("GROAT_PEER", "1.2.3.4:5,[::1]:6")
    assert load_settings({}).peers == (Endpoint("1.2.3.4", 5), Endpoint("::1", 6))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"network": "nope"}, "network 'nope' is not one of main, test, devnet, regtest"),
        ({"network": "nope.toml"}, "nope.toml: No such file"),
        ({"p2p": "here"}, "setting p2p: 'here' is not HOST:PORT"),
        ({"api": "127.0.0.1:65536"}, "setting api: port 65536 is over 65535"),
        ({"peer": [":1"]}, "setting peer: ':1' is not HOST:PORT"),
        ({"api": "1:2:3"}, "setting api: '1:2:3' is not HOST:PORT"),
        ({"api": "[::1:9"}, "is not HOST:PORT"),
        ({"api": "::1]:9"}, "is not HOST:PORT"),
        ({"api": "a b:9"}, "is not HOST:PORT"),
        ({"api": "a..b:0"}, "setting api: 'a..b:0' is not HOST:PORT"),
        ({"api": "a" * 64 + ":1"}, "is not HOST:PORT"),
        ({"api": ("a" * 62 + ".") * 4 + "ab:1"}, "is not HOST:PORT"),
        ({"api": "[::::]:1"}, "is not HOST:PORT"),
        ({"api": "\udcff:1"}, "is not HOST:PORT"),
        ({"peer": ["127.0.0.1:0"]}, "setting peer: '127.0.0.1:0': a peer has a port from 1 on"),
        ({"peer": ["[fe80::1%lo]:5"]}, "and no zone"),
        ({"peer": ["0.0.0.0:5"]}, "name the peer's own .127.0.0.1:5 on"),
        ({"peer": ["[::]:5"]}, "name the peer's own .[::1]:5 on"),
        ({"peer": ["0:5"]}, "an address to listen on"),
        ({"peer": ["[ff02::1]:5"]}, "not the address of a single host"),
        ({"api": "a:" + "9" * 5000}, "setting api: port 99999999999999999999 is over 65535"),
        ({"mine_threads": 0}, "setting mine_threads"),
        ({"upload_mb_per_day": -1}, "setting upload_mb_per_day"),
        (
            {"debug": ["nett"]},
            "setting debug: unknown logging category nett: the known ones are http,",
        ),
        ({"mine": ADDRESS}, "setting mine: address of another network"),
        ({"network": "regtest", "mine": "bcrt1"}, "setting mine: not an address"),
        (
            {"mine": "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"},
            "setting mine: address of another network",
        ),
        ({"network": "regtest", "mine": ADDRESS[:-1] + "q"}, "setting mine: not an address"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(flags, message):
    with pytest.raises(SettingsError, match=message.replace("[", r"\[")):
        load_settings(flags)


KINDS_OF_VALUES = [
    # what groat.toml has, what is said of it
    *((f"{name} = {value}", "must be a whole number")
      for name in ("mine_threads", "upload_mb_per_day")
      for value in ("true", "1.5", '"x"', "[]", "{}", "2020-01-01")),
    *((f"{name} = {value}", "must be true or false")
      for name in ("mine_alone", "discovery") for value in ('"perhaps"', "[]", "7", "{}")),
    *((f"{name} = {value}", "must be text")
      for name in ("network", "database", "p2p", "api", "mine", "peer", "seed", "rpc_auth",
                   "api_host", "debug")
      for value in ("7", "true", "{}", "[7]", "2020-01-01")),
    *((f'{name} = ""', "is empty: give it a value, or leave it out") for name in
      ("network", "database", "p2p", "api", "mine", "peer", "seed", "rpc_auth", "api_host", "debug",
       "mine_threads", "upload_mb_per_day", "mine_alone", "discovery")),
    *((f'{name} = ["x", ""]', "is empty: give it a value, or leave it out") for name in
      ("peer", "rpc_auth", "api_host", "debug")),
    ("mine_threads = 0", "must be at least 1"),
    ("mine_threads = 1025", "must be at most 1024"),
    ("upload_mb_per_day = -1", "must be at least 0"),
    ("upload_mb_per_day = 1000000001", "must be at most 1000000000"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "said"), KINDS_OF_VALUES)
def test_a_value_of_the_wrong_kind_is_told_in_groat_s_own_words(tmp_path, line, said):
    (tmp_path / "groat.toml").write_text(line + "\n")
    with pytest.raises(SettingsError) as caught:
        load_settings({})
    assert str(caught.value).startswith(f"setting {line.split()[0]}: {said}")
    assert "\n" not in str(caught.value)


def test_an_invalid_setting_is_shown_with_its_value_and_its_source(tmp_path, monkeypatch):
    def said(**flags):
        with pytest.raises(SettingsError) as caught:
            load_settings(flags)
        return str(caught.value)

    (tmp_path / "groat.toml").write_text('mine_threads = "x"\n')
    problem = "setting mine_threads: must be a whole number"
    assert said(datadir=tmp_path) == f"{problem} ('x', from groat.toml)"
    monkeypatch.setenv("GROAT_MINE_THREADS", "1.5")
    assert (
        said(datadir=tmp_path) == f"{problem} ('1.5', from GROAT_MINE_THREADS in the environment)"
    )
    least = "setting mine_threads: must be at least 1 (0, from --mine-threads)"
    assert said(datadir=tmp_path, mine_threads=0) == least
    monkeypatch.setenv("GROAT_MINE_THREADS", "1")
    assert said(datadir=tmp_path, api="x") == "setting api: 'x' is not HOST:PORT (from --api)"


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("network = regtest", '; text has quotes: network = "regtest"'),
        ("mine_alone = True # yes", "; write it as mine_alone = true"),
        ("peer = [a]", ""),
    ],
)
def test_text_without_quotes_in_groat_toml_is_shown_with_them(tmp_path, line, hint):
    (tmp_path / "groat.toml").write_text(f"quiet = false\n{line}\n")
    with pytest.raises(SettingsError) as caught:
        load_settings({"datadir": tmp_path})
    column = line.index("=") + 3 + ("[" in line)
    assert str(caught.value).endswith(f"Invalid value (at line 2, column {column}){hint}")


def test_every_setting_with_an_empty_value_is_refused_and_an_empty_variable_is_none(monkeypatch):
    for name in _Sources.model_fields:
        for value in ("", [""])[: 1 if name == "datadir" else 2]:
            with pytest.raises(SettingsError, match=f"setting {name}: is empty"):
                load_settings({name: value})
        if name != "datadir":
            monkeypatch.setenv(f"GROAT_{name.upper()}", "")
    assert load_settings({}).mine_threads == 1


def test_a_malformed_login_is_refused_with_its_source_and_never_shown(tmp_path, monkeypatch):
    with pytest.raises(SettingsError, match=r"^setting rpc_auth: must .* \(from --rpc-auth\)$"):
        load_settings({"rpc_auth": ["bob:hunter2"]})
    (tmp_path / "groat.toml").write_text('rpc_auth = "bob:hunter2"\n')
    with pytest.raises(SettingsError, match=r"\(from groat\.toml\)$") as caught:
        load_settings({})
    assert "hunter2" not in str(caught.value)


def test_the_file_is_checked_too(tmp_path):
    (tmp_path / "groat.toml").write_text("colour = 1\n")
    with pytest.raises(SettingsError, match="there is no setting 'colour'"):
        load_settings({})
    for name, meant in (("peers", "peer"), ("mine-threads", "mine_threads")):
        (tmp_path / "groat.toml").write_text(f"{name} = 1\n")
        with pytest.raises(SettingsError, match=f"'{name}' .*; did you mean {meant}\\?"):
            load_settings({})
    (tmp_path / "groat.toml").write_text("= 1\n")
    with pytest.raises(SettingsError, match=r"groat\.toml"):
        load_settings({})


def test_an_address_to_mine_to_becomes_its_script():
    script = load_settings({"network": "regtest", "mine": ADDRESS}).mine_script
    assert script is not None
    assert len(script) == 22


def test_a_network_of_ones_own_comes_from_a_file(tmp_path):
    name = network_file(tmp_path / "mine.toml")
    settings = load_settings({"network": name})
    assert settings.params == replace(DEVNET, name="mine")
    assert (settings.p2p.port, settings.api.port) == (1111, 2222)
    assert settings.folder == tmp_path / "mine"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spacing_s": 0}, "'spacing_s' is out of range"),
        ({"genesis_nonce": 1}, "genesis_nonce does not meet the bits"),
        ({"name": "main"}, "'name' is out of range"),
        ({"colour": "red"}, "unknown field 'colour'"),
    ],
)
def test_a_network_file_is_checked(tmp_path, changes, message):
    with pytest.raises(SettingsError, match=message):
        load_settings({"network": network_file(tmp_path / "bad.toml", **changes)})


def test_a_built_in_network_whose_genesis_block_lacks_work_is_refused(monkeypatch):
    monkeypatch.setitem(NETWORKS, "devnet", replace(DEVNET, genesis_message="edited"))
    message = "network devnet: genesis_nonce does not meet .* `groat network nonce devnet`"
    with pytest.raises(SettingsError, match=message):
        load_settings({"network": "devnet"})
    with pytest.raises(InputError, match=message):
        find_network("devnet")


@pytest.mark.parametrize("below", ["", "sub/folder"])
def test_a_file_in_place_of_the_data_directory_is_refused(tmp_path, below):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"datadir: .*/file is not a folder \(from --datadir\)"):
        load_settings({"network": "regtest", "datadir": tmp_path / "file" / below})


@pytest.mark.parametrize("text", ["rules = 1", "[rules", "", "\xff"])
def test_what_is_no_network_file_is_refused(tmp_path, text):
    (tmp_path / "bad.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"network file .*bad\.toml"):
        load_settings({"network": str(tmp_path / "bad.toml")})


_LONGEST = ("a" * 62 + ".") * 4 + "a"  # 253 characters


@pytest.mark.parametrize(
    ("text", "endpoint", "shown"),
    [
        ("127.0.0.1:0", Endpoint("127.0.0.1", 0), "127.0.0.1:0"),
        ("[::1]:9", Endpoint("::1", 9), "[::1]:9"),
        ("[::ffff:1.2.3.4]:65535", Endpoint("::ffff:1.2.3.4", 65535), "[::ffff:1.2.3.4]:65535"),
        ("[fe80::1%eth0]:9", Endpoint("fe80::1%eth0", 9), "[fe80::1%eth0]:9"),
        ("localhost:000080", Endpoint("localhost", 80), "localhost:80"),
        ("node.example:80", Endpoint("node.example", 80), "node.example:80"),
        ("a" * 63 + ":1", Endpoint("a" * 63, 1), "a" * 63 + ":1"),
        (_LONGEST + ":1", Endpoint(_LONGEST, 1), _LONGEST + ":1"),
    ],
)
def test_endpoints_read_and_print(text, endpoint, shown):
    assert parse_endpoint("peer", text) == endpoint
    assert str(endpoint) == shown


def test_a_folder_cannot_be_set_in_the_file_that_is_in_it(tmp_path):
    (tmp_path / "groat.toml").write_text('datadir = "/elsewhere"\n')
    with pytest.raises(SettingsError, match="datadir is a flag or GROAT_DATADIR"):
        load_settings({"datadir": tmp_path})
