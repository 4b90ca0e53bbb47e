"""Whatever stands in groat.toml or in a network file ends as Settings or as one line."""

from dataclasses import asdict, fields, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain.consensus.params import DEVNET, Params
from chain.network_file import Ports, load_network_file
from chain.settings import SettingsError, _Sources, load_settings

_ONCE = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
_VALUES = st.sampled_from(
    [
        "0",
        "1",
        "-1",
        "65535",
        "65536",
        "9223372036854775807",
        "99999999999999999999",
        "1.5",
        "1e400",
        "inf",
        "-inf",
        "nan",
        "true",
        "[]",
        "[1]",
        '["a"]',
        "{}",
        "{p2p = 1}",
        "2020-01-01",
        '""',
        '"a"',
        '"\\u0000"',
        '"\\n"',
        '"~nosuchuser"',
        '"127.0.0.1:99999"',
        '"[::1%]:1"',
        '"' + "é" * 100 + '"',
        "1" + "0" * 3000,
        "[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]",
    ]
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    for name in _Sources.model_fields:
        monkeypatch.delenv(f"GROAT_{name.upper()}", raising=False)
    monkeypatch.setenv("GROAT_DATADIR", str(tmp_path))


def rules(**changes: str) -> str:
    """Return a network file; `changes` are values as TOML has them."""
    values = asdict(replace(DEVNET, name="mine"))
    texts = {
        name: f'"{value.hex()}"'
        if isinstance(value, bytes)
        else f'"{value}"'
        if isinstance(value, str)
        else str(value)
        for name, value in values.items()
    }
    return "[rules]\n" + "".join(f"{n} = {v}\n" for n, v in (texts | changes).items())


def line_of(flags: dict) -> str:
    """Return the line that the settings end in, empty if they are accepted."""
    try:
        load_settings(flags)
    except SettingsError as error:
        return str(error)
    return ""


@_ONCE
@given(st.sampled_from([*_Sources.model_fields, "colour", '"a\\nb"']), _VALUES)
def test_any_value_of_any_setting_is_taken_or_ends_in_one_line(tmp_path, name, value):
    (tmp_path / "groat.toml").write_text(f"{name} = {value}\n")
    assert len(line_of({}).splitlines()) <= 1


@_ONCE
@given(st.sampled_from([field.name for field in fields(Params)]), _VALUES)
def test_any_value_of_any_rule_is_taken_or_ends_in_one_line(tmp_path, name, value):
    file = tmp_path / "own.toml"
    file.write_text(rules(**{name: value}))
    line = line_of({"network": str(file)})
    assert len(line.splitlines()) <= 1
    assert line == "" or line.startswith(f"network file {file}")


@_ONCE
@given(st.binary(max_size=100))
def test_any_bytes_end_in_one_line(tmp_path, data):
    (tmp_path / "groat.toml").write_bytes(b"=" + data)
    (tmp_path / "own.toml").write_bytes(b"=" + data)
    for flags in ({}, {"network": str(tmp_path / "own.toml"), "datadir": str(tmp_path / "no")}):
        assert len(line_of(flags).splitlines()) == 1


@pytest.mark.parametrize("name", ["p2p", "api"])
@pytest.mark.parametrize("value", ["0", "1", "65535"])
def test_a_network_files_port_is_taken_up_to_65535(tmp_path, name, value):
    file = tmp_path / "own.toml"
    file.write_text(rules() + f"[ports]\n{name} = {value}\n")
    assert load_network_file(file)[1] == replace(Ports(), **{name: int(value)})


@pytest.mark.parametrize("name", ["p2p", "api"])
@pytest.mark.parametrize(
    "value",
    ["-1", "65536", "99999999999", "1.0", "1.5", "inf", "nan", "true", '"9444"', "[1]", "{}"],
)
def test_a_network_files_port_is_a_whole_number_in_its_range(tmp_path, name, value):
    file = tmp_path / "own.toml"
    file.write_text(rules() + f"[ports]\n{name} = {value}\n")
    with pytest.raises(
        SettingsError, match=f"port '{name}' must be a whole number from 0 to 65535"
    ):
        load_settings({"network": str(file)})


@pytest.mark.parametrize(
    ("ports", "message"),
    [
        ("ports = 1", r"\[ports\] is not a table"),
        ("ports = {apl = 1}", "unknown port 'apl'"),
        ("ports = {p2p = 5, api = 5}", "must be two different ports"),
    ],
)
def test_a_table_of_ports_that_is_none_is_named(tmp_path, ports, message):
    file = tmp_path / "own.toml"
    file.write_text(f"{ports}\n{rules()}")
    with pytest.raises(SettingsError, match=message):
        load_settings({"network": str(file)})


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("genesis_value", "0", "-1"),
        ("bip44_coin_type", "2147483647", "2147483648"),
        ("pubkey_address_prefix", "255", "256"),
        ("script_address_prefix", "255", "256"),
        ("secret_key_prefix", "0", "-1"),
        ("asert_half_life_s", "2147483647", "2147483648"),
        ("coinbase_maturity_blocks", "2147483647", "2147483648"),
        ("header_ahead_s_max", "2147483647", "2147483648"),
        ("bech32_prefix", '"' + "a" * 30 + '"', '"' + "a" * 31 + '"'),
        ("bech32_prefix", '"groat"', '"Groat"'),
        ("name", '"' + "a" * 64 + '"', '"' + "a" * 65 + '"'),
    ],
)
def test_every_rule_has_a_range(tmp_path, name, good, bad):
    file = tmp_path / "own.toml"
    file.write_text(rules(**{name: good}))
    load_network_file(file)
    file.write_text(rules(**{name: bad}))
    with pytest.raises(SettingsError, match=f"'{name}' is out of range"):
        load_settings({"network": str(file)})


@pytest.mark.parametrize("how", ["flag", "environment"])
def test_a_folder_of_no_such_user_is_named(monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv("GROAT_DATADIR", "~nosuchuser/x")
    flags = {"datadir": "~nosuchuser/x"} if how == "flag" else {}
    with pytest.raises(SettingsError, match="datadir: ~nosuchuser/x: no such user"):
        load_settings(flags)


def test_the_file_is_read_in_the_folder_that_a_tilde_means(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "groat.toml").write_text('network = "test"\n')
    settings = load_settings({"datadir": "~/x"})
    assert settings.folder == tmp_path / "x" / "test"


def test_an_empty_variable_counts_as_not_set(monkeypatch, tmp_path):
    for name in ("NETWORK", "API", "MINE_THREADS", "DISCOVERY", "DATABASE"):
        monkeypatch.setenv(f"GROAT_{name}", "")
    assert load_settings({}).folder == tmp_path / "main"


@pytest.mark.parametrize("value", ["true", "1.0", "inf", "nan", "-1", "0"])
def test_a_number_of_threads_is_a_whole_number(tmp_path, value):
    (tmp_path / "groat.toml").write_text(f"mine_threads = {value}\n")
    with pytest.raises(SettingsError, match="setting mine_threads: "):
        load_settings({})


@pytest.mark.parametrize(
    ("given_host", "host"),
    [
        ("node.example", "node.example"),
        ("node.example:80", "node.example:80"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:80", "[2001:db8::1]:80"),
    ],
)
def test_a_host_to_answer_to_is_a_name_or_an_ip_and_may_have_a_port(given_host, host):
    assert load_settings({"api_host": [given_host]}).api_hosts == (host,)


@pytest.mark.parametrize(
    "text", ["a b", "http://x", "a:", "a:b", "a:-1", "a:1.5", "[::1", "é", ":1"]
)
def test_what_can_be_no_host_header_is_named(text):
    with pytest.raises(SettingsError, match=r"setting api_host: .* is not NAME or NAME:PORT"):
        load_settings({"api_host": [text]})


def test_a_hosts_port_is_checked():
    assert load_settings({"api_host": ["a:65535"]}).api_hosts == ("a:65535",)
    with pytest.raises(SettingsError, match="setting api_host: port 65536 is over 65535"):
        load_settings({"api_host": ["a:65536"]})
