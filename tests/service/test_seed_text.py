"""Seeds as people write them: in a network's file, in groat.toml, as flags."""

import ipaddress
import socket
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.gossip.seeds import DnsSeed
from chain.gossip.wire.address import parse_address
from chain.network_file import NetworkFileError, load_network_file, load_seeds
from chain.new_network import default_plan, file_text, rules_of
from chain.seed_text import (
    SEEDS_MAX,
    SeedTextError,
    is_dns_name,
    parse_seed,
    parse_seeds,
    seed_text,
)
from chain.settings import Endpoint, SettingsError, _Sources, load_settings
from tests.service.test_settings import network_file

PORT = 9444
LABEL = "a" * 63


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    for name in _Sources.model_fields:
        monkeypatch.delenv(f"GROAT_{name.upper()}", raising=False)
    monkeypatch.setenv("GROAT_DATADIR", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("seed.example.org", "seed.example.org", PORT),
        ("seed.example.org.", "seed.example.org.", PORT),
        ("Seed", "Seed", PORT),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", PORT),
        ("_seed.1a", "_seed.1a", PORT),
        (LABEL, LABEL, PORT),
        ("192.0.2.1:1", "192.0.2.1", 1),
        ("192.0.2.1:65535", "192.0.2.1", 65_535),
        ("192.0.2.1:009444", "192.0.2.1", 9444),
        ("192.0.2.1", "192.0.2.1", PORT),
        ("127.0.0.1:9444", "127.0.0.1", 9444),
        ("[2001:DB8::1]:7", "2001:db8::1", 7),
        ("[::1]", "::1", PORT),
        ("[::ffff:192.0.2.1]:7", "192.0.2.1", 7),
    ],
)
def test_a_seed_is_a_name_on_the_networks_port_or_an_ip(text, host, port):
    assert parse_seed(text, PORT) == Endpoint(host, port)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "neither a DNS name nor IP:PORT"),
        (" ", "neither"),
        ("a b", "neither"),
        ("a,b", "neither"),
        ("a..b", "neither"),
        (".", "neither"),
        ("-a.example", "neither"),
        ("a-.example", "neither"),
        ("é.example", "neither"),
        ("a.example\n", "neither"),
        ("a\0.example", "neither"),
        (LABEL + "a", "neither"),
        ("http://a.example", "neither"),
        ("http://a.example:9444", "neither"),
        ("a@b.example", "neither"),
        ("a.example:9444", "a seed's name has no port"),
        ("192.0.2", "neither"),
        ("192.0.2.1.", "neither"),
        ("3221225985", "neither"),
        ("0xC0000201", "neither"),
        ("a.0x1", "neither"),
        ("192.0.2.256", "neither"),
        ("192.0.2.01:1", "neither"),
        ("192.0.2.1:", "neither"),
        ("192.0.2.1:x", "neither"),
        ("192.0.2.1:-1", "neither"),
        ("192.0.2.1:99999999999", "neither"),
        ("٣.0.2.1:1", "neither"),
        ("::1", "neither"),
        ("2001:db8::1:9444", "neither"),
        ("[::1", "neither"),
        ("[192.0.2.1]:1", "neither"),
        ("[fe80::1%eth0]:1", "neither"),
        ("192.0.2.1:0", "no port, and the network has none by default"),
        ("192.0.2.1:65536", "the port is over 65535"),
        ("0.0.0.0:1", "single host"),
        ("0.1.2.3:1", "single host"),
        ("255.255.255.255:1", "single host"),
        ("224.0.0.1:1", "single host"),
        ("169.254.169.254:80", "single host"),
        ("[::]:1", "single host"),
        ("[::ffff:0.0.0.0]:1", "single host"),
        ("[fe80::1]:1", "single host"),
        ("[ff02::1]:1", "single host"),
    ],
)
def test_what_is_no_seed_is_named(text, named):
    with pytest.raises(SeedTextError, match=named) as caught:
        parse_seed(text, PORT)
    assert str(caught.value).isprintable()
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["seed.example.org", "192.0.2.1", "[2001:db8::1]"])
def test_a_network_without_a_port_for_peers_needs_seeds_with_one(text):
    with pytest.raises(SeedTextError, match="no port, and the network has none"):
        parse_seed(text, 0)
    assert parse_seed("192.0.2.1:1", 0).port == 1


@pytest.mark.parametrize(("characters", "is_name"), [(253, True), (254, False)])
def test_a_name_has_at_most_253_characters(characters, is_name):
    text = ".".join([LABEL] * 4)[: characters - 2] + ".a"
    text = "a" * (characters - len(text)) + text if len(text) < characters else text[-characters:]
    assert len(text) == characters
    assert is_dns_name(text) is is_name


@pytest.mark.parametrize(("count", "is_taken"), [(SEEDS_MAX, True), (SEEDS_MAX + 1, False)])
def test_a_bounded_number_of_seeds_is_taken(count, is_taken):
    texts = [f"s{number}.example" for number in range(count)]
    if is_taken:
        assert len(parse_seeds(texts * 2, PORT)) == count
        return
    with pytest.raises(SeedTextError, match=f"{count} seeds are too many: at most {SEEDS_MAX}"):
        parse_seeds(texts, PORT)


@given(st.one_of(st.text(), st.text("ab.-:[]0189xf", max_size=20)))
def test_any_text_is_a_seed_that_is_written_as_it_is_read_or_one_line(text):
    try:
        seed = parse_seed(text, PORT)
    except SeedTextError as error:
        problem = str(error)
    else:
        problem = ""
    assert problem.isprintable()
    if problem:
        return
    assert 1 <= seed.port <= 65_535
    assert parse_seed(seed_text(seed), PORT) == seed
    if is_dns_name(seed.host):
        with pytest.raises(OSError, match=r"."):
            socket.inet_aton(seed.host)
    else:
        assert parse_address(seed.host, seed.port).host == seed.host


@given(st.ip_addresses(), st.integers(1, 65_535))
def test_any_ip_and_port_is_that_seed_if_it_can_be_a_host(ip, port):
    text = f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"
    address = parse_address(str(ip), port)
    try:
        seed = parse_seed(text, PORT)
    except SeedTextError:
        assert not address.is_one_host or ipaddress.ip_address(address.ip).is_link_local
    else:
        assert parse_address(seed.host, seed.port) == address
        assert address.is_one_host


def test_seeds_come_from_the_networks_file_and_further_ones_from_one_setting(tmp_path, monkeypatch):
    name = network_file(tmp_path / "mine.toml")
    with (tmp_path / "mine.toml").open("a") as file:
        file.write('\n[seeds]\nhosts = ["a.example", "192.0.2.1"]\n')
    known = (DnsSeed("a.example", 1111), parse_address("192.0.2.1", 1111))
    assert load_settings({"network": name}).seeds == known
    (tmp_path / "groat.toml").write_text('seed = ["b.example"]\n')
    assert load_settings({"network": name}).seeds == (*known, DnsSeed("b.example", 1111))
    monkeypatch.setenv("GROAT_SEED", "c.example,192.0.2.1:1111,[::1]:8")
    more = (*known, DnsSeed("c.example", 1111), parse_address("::1", 8))
    assert load_settings({"network": name}).seeds == more
    assert load_settings({"network": name, "seed": ["none"]}).seeds == ()
    only = load_settings({"network": name, "seed": ["none", "d.example"]}).seeds
    assert only == (DnsSeed("d.example", 1111),)


def test_built_in_networks_have_no_seeds_and_their_own_port():
    assert load_settings({"network": "main"}).seeds == ()
    assert load_settings({"seed": ["a.example"]}).seeds == (DnsSeed("a.example", 9444),)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"seed": ["a b"]}, "setting seed: 'a b' is neither"),
        ({"seed": ["a", ""]}, "setting seed: is empty"),
        ({"seed": ["a.example:9444"]}, "setting seed: 'a.example:9444': a seed's name has no port"),
        ({"seed": [f"s{n}.example" for n in range(33)]}, "setting seed: 33 seeds are too many"),
    ],
)
def test_a_wrong_seed_is_one_line(flags, message):
    with pytest.raises(SettingsError) as caught:
        load_settings(flags)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ("[seeds]\nhosts = [1]\n", "hosts in [seeds] must be a list of texts"),
        ('[seeds]\nhosts = "a.example"\n', "hosts in [seeds] must be a list of texts"),
        ('[seeds]\nhost = ["a.example"]\n', "unknown field 'host' in [seeds]: only hosts"),
        ('[seeds]\nhosts = ["a b"]\n', "hosts in [seeds]: 'a b' is neither"),
        ('[seeds]\nhosts = ["a.example"]\n', "'a.example': no port, and the network has none"),
        ('[[seeds]]\nhosts = ["a.example"]\n', "[seeds] is not a table"),
    ],
)
def test_a_wrong_table_of_seeds_is_a_mistake_of_the_networks_file(tmp_path, table, why):
    path = tmp_path / "mine.toml"
    network_file(path)
    without_port = path.read_text().replace("p2p = 1111", "p2p = 0")
    path.write_text(f"{without_port}\n{table}")
    for load in (load_network_file, load_seeds):
        with pytest.raises(NetworkFileError) as caught:
            load(path)
        assert why in str(caught.value)


def test_a_network_file_of_before_is_read_as_before(tmp_path):
    path = tmp_path / "mine.toml"
    network_file(path)
    assert load_seeds(path) == ()
    assert load_network_file(path)[0].name == "mine"


@given(st.lists(st.sampled_from(["a.example", "192.0.2.1:9", "[2001:db8::1]:9"]), unique=True))
def test_the_seeds_of_a_new_network_are_read_back_from_its_file(texts):
    plan = default_plan("village", b"\1\2\3\4", 1_800_000_000, "today")
    written = file_text(rules_of(plan), plan.ports, texts)
    assert tomllib.loads(written)["seeds"] == {"hosts": texts}


def test_a_new_network_may_have_as_many_seeds_of_as_many_characters_as_can_be(tmp_path):
    texts = [f"{n:02}" + LABEL[2:] + f".{LABEL}.{LABEL}.{LABEL[:61]}" for n in range(SEEDS_MAX)]
    assert {len(text) for text in texts} == {253}
    plan = default_plan("village", b"\1\2\3\4", 1_800_000_000, "today")
    (tmp_path / "village.toml").write_text(file_text(rules_of(plan), plan.ports, texts))
    assert [seed.host for seed in load_seeds(tmp_path / "village.toml")] == texts
