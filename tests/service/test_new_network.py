"""A network of one's own: its file is read back as what was chosen, and nothing is overwritten."""

import io
import json
import tomllib
from dataclasses import replace

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from chain.cli.commands import app
from chain.cli.network_commands import _chosen, _questions
from chain.consensus.genesis import genesis_block
from chain.consensus.header import check_header_work
from chain.consensus.params import NETWORKS, REGTEST, params_from_document
from chain.endpoint import Endpoint
from chain.errors import UsageError
from chain.mining.hashlib_kernel import HashlibKernel
from chain.network_file import PORTS, Ports, load_network_file, load_seeds
from chain.new_network import (
    DIFFICULTY_MAX,
    NewNetworkError,
    NoNonceError,
    default_plan,
    described,
    described_lines,
    file_text,
    find_nonce,
    mined,
    rules_of,
)
from chain.primitives.compact import difficulty

EASY = 1e-9  # some nonce of the first few meets it
PLAN = replace(default_plan("village", b"\1\2\3\4", 1_800_000_000, "today"), difficulty=EASY)
COMMAND = typer.main.get_command(app)


@given(
    st.integers(1, 86_400),
    st.integers(0, 10**10),
    st.integers(1, 100_000),
    st.floats(1e-9, DIFFICULTY_MAX),
    st.text("aeo", min_size=1, max_size=30),
)
def test_a_network_is_read_back_from_its_file_as_it_was_chosen(spacing, subsidy, blocks, work, hrp):
    plan = replace(
        PLAN, spacing_s=spacing, subsidy=subsidy, halving_blocks=blocks, prefix=hrp, difficulty=work
    )
    params = rules_of(plan)
    document = tomllib.loads(file_text(params, plan.ports))
    assert params_from_document(document) == params
    assert document["ports"] == {"p2p": plan.ports.p2p, "api": plan.ports.api}
    assert document["coins"] == {"worthless": False}
    worthless = tomllib.loads(file_text(params, plan.ports, is_worthless=True))
    assert worthless["coins"] == {"worthless": True}
    assert difficulty(params.genesis_bits) == pytest.approx(work, rel=1e-4)


def test_the_genesis_block_of_a_new_network_has_its_work():
    params = mined(rules_of(PLAN), HashlibKernel(), lambda _: None)
    check_header_work(genesis_block(params).header, params)
    assert described(params, PLAN.ports)["first_hashes"] == pytest.approx(EASY * 2**32, rel=0.2)


@pytest.mark.parametrize("name", ["test", "devnet"])
def test_the_search_finds_the_nonce_of_a_built_in_network_again(name):
    params = NETWORKS[name]

    class Near(HashlibKernel):
        """Looks only at the last nonces before the known one."""

        def search(self, header, target, start, count):
            first = max(start, params.genesis_nonce - 3)
            if not start <= first < start + count:
                return None
            return super().search(header, target, first, 4)

    tried = []
    assert find_nonce(params, Near(), tried.append) == params.genesis_nonce
    with pytest.raises(NoNonceError, match="genesis_bits are not a valid target"):
        find_nonce(replace(params, genesis_bits=0), Near(), tried.append)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"prefix": "bcrt"}, "--prefix 'bcrt': it belongs to a built-in network"),
        ({"prefix": "bc"}, "--prefix 'bc': it belongs to"),
        ({"prefix": "ltc"}, "another coin"),
        ({"maturity_blocks": -1}, "--maturity -1: 1 to 2147483647 blocks"),
        ({"prefix": "A"}, "--prefix 'A': 1 to 30 lower-case letters"),
        ({"prefix": "a" * 31}, "prefix"),
        ({"magic": b"\1\2\3"}, "--magic 010203: 4 bytes"),
        ({"magic": NETWORKS["main"].magic}, "--magic .*: it belongs to a built-in network"),
        ({"spacing_s": 0}, "--spacing 0: 1 to 86400 seconds"),
        ({"spacing_s": 0, "difficulty": 0.0}, "--spacing 0: 1 to 86400"),
        ({"spacing_s": 86_401}, "spacing"),
        ({"halving_blocks": 0}, "halving"),
        ({"maturity_blocks": 0}, "maturity"),
        ({"coin_type": 1 << 31}, "coin-type"),
        ({"ports": Ports(65_536, 1)}, "--p2p-port 65536: 0 to 65535"),
        ({"ports": Ports(7, 7)}, "--p2p-port 7 and --api-port 7: two different ones"),
        ({"message": "a\x7f"}, "message"),
        ({"message": "a" * 76}, "message"),
        ({"message": "é"}, "message"),
        (
            {"subsidy": 10**15, "halving_blocks": 2},
            "--halving 2: at most 21,000,000",
        ),
        ({"difficulty": 0.0}, "difficulty"),
        ({"difficulty": 1.01}, "difficulty"),
        ({"difficulty": float("nan")}, "difficulty"),
        ({"time": 1 << 32}, "genesis_time"),
    ],
)
def test_a_value_out_of_range_is_named(changes, named):
    with pytest.raises(NewNetworkError, match=named):
        rules_of(replace(PLAN, **changes))


def test_any_free_port_may_be_both():
    assert rules_of(replace(PLAN, ports=Ports(0, 0)))


@pytest.mark.parametrize("name", ["main", "a b", "", "1a", "a" * 31, "ä", "../x"])
def test_a_name_that_cannot_be_a_folder_or_is_taken_is_refused(name):
    with pytest.raises(UsageError):
        default_plan(name, bytes(4), 0, "")


def run(*words):
    with pytest.raises(SystemExit) as ended:
        COMMAND.main(["network", *words], prog_name="groat")
    return ended.value.code


def test_new_writes_a_file_that_nodes_take_says_its_defaults_and_overwrites_nothing(
    tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    flags = (
        "--difficulty",
        "1e-5",
        "--subsidy",
        "1.5",
        "--seed",
        "a.example",
        "--seed",
        "192.0.2.1",
    )
    assert run("new", "village", *flags, "--yes") == 0
    shown = capfd.readouterr()
    assert "1.5 coins, half of it each" in shown.out
    assert "groat: defaults taken: spacing 60, " in shown.err
    file = tmp_path / "village.toml"
    params, ports = load_network_file(file)
    assert (params.name, params.subsidy_start) == ("village", 150_000_000)
    assert load_seeds(file) == (Endpoint("a.example", ports.p2p), Endpoint("192.0.2.1", ports.p2p))
    assert f"seeds              a.example, 192.0.2.1:{ports.p2p}\n" in shown.out
    assert 20_000 <= ports.p2p < ports.api < 25_000
    assert file.stat().st_mode & 0o777 == 0o644
    before = file.read_bytes()
    assert run("new", "village", "--yes") == 2
    assert "is there already" in capfd.readouterr().err
    assert file.read_bytes() == before
    assert run("show", "village.toml", "--json") == 0
    found = json.loads(capfd.readouterr().out)
    assert found["subsidy_grains"] == 150_000_000
    assert found["seeds"] == ["a.example", f"192.0.2.1:{ports.p2p}"]
    other = before.decode().replace('genesis_message = "village ', 'genesis_message = "Village ')
    assert other != before.decode()
    file.write_text(other)
    assert run("show", "village.toml") == 2
    assert "`groat network nonce village.toml` finds one" in capfd.readouterr().err
    assert run("nonce", "village.toml") == 0
    assert capfd.readouterr().out.startswith("genesis_nonce = ")
    assert [path.name for path in tmp_path.iterdir()] == ["village.toml"]


@pytest.mark.parametrize(
    "words",
    [
        ("--magic", "zz"),
        ("--spacing", "1.5"),
        ("--seed", "a b"),
        ("--seed", "a.example:1"),
        ("--subsidy", "1e3"),
        ("--difficulty", "x"),
        ("--p2p-port", "-1"),
        ("--p2p-port", "70000"),
        ("--spacing", "0"),
        ("--maturity", "-1"),
        ("--prefix", "BAD!"),
        ("--difficulty", "0"),
        ("--output", "x.txt"),
        ("--output", "no/x.toml"),
    ],
)
def test_new_names_the_wrong_flag_in_one_line_and_writes_nothing(
    tmp_path, monkeypatch, capfd, words
):
    monkeypatch.chdir(tmp_path)
    flags = words if "--difficulty" in words else (*words, "--difficulty", "1e-9")
    assert run("new", "village", "--yes", *flags) == 2
    [last] = capfd.readouterr().err.splitlines()
    assert last.startswith("groat: ")
    assert words[0].strip("-") in last or words[1] in last
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_answer_is_asked_for_again_and_a_wrong_flag_is_not(monkeypatch, capfd):
    given = {flag: question.default(PLAN) for flag, question in _questions().items()}
    monkeypatch.setattr("sys.stdin", io.StringIO("x\n 5 \na b\na.example, 192.0.2.1:7\n"))
    plan, _ = _chosen(PLAN, {**given, "spacing": None, "seed": None}, asks=True)
    assert (plan.spacing_s, plan.seeds) == (5, ("a.example", "192.0.2.1:7"))
    said = capfd.readouterr().err
    assert "groat: 'x': it must be a whole number\n" in said
    assert "groat: 'a b': 'a b' is neither a DNS name" in said
    with pytest.raises(UsageError, match="--spacing 'x': it must be a whole number"):
        _chosen(PLAN, {**given, "spacing": "x"}, asks=True)


@pytest.mark.parametrize(
    ("flag", "answers", "said"),
    [
        ("spacing", "-1 86401 5", "--spacing -1: 1 to 86400 seconds"),
        ("subsidy", "10500001 5", "--subsidy 10500001: 0 to 10500000, in coins"),
        ("halving", "99999999 5", "--subsidy 10 and --halving 99999999: at most 21,000,000 coins"),
        ("maturity", "0 5", "--maturity 0: 1 to 2147483647 blocks"),
        ("prefix", "BC1 bc five", "--prefix 'BC1': 1 to 30 lower-case letters"),
        ("difficulty", "-4 2 0.5", "--difficulty -4: more than 0, at most 1"),
        ("p2p-port", "99999999 5", "--p2p-port 99999999: 0 to 65535"),
        ("api-port", f"{PLAN.ports.p2p} 5", f"--api-port {PLAN.ports.p2p}: two different ones"),
        ("coin-type", "-1 5", "--coin-type -1: 0 to 2147483647"),
        ("magic", "0102 05060708", "--magic 0102: 4 bytes in hex"),
        ("message", "caf\u00e9 five", "--message 'caf\u00e9': at most 75 characters of ASCII"),
    ],
)
def test_an_answer_out_of_its_flags_bounds_is_asked_for_again(
    monkeypatch, capfd, flag, answers, said
):
    given = {name: question.default(PLAN) for name, question in _questions().items()}
    lines = answers.split()
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join([*lines, ""])))
    plan, _ = _chosen(PLAN, given | {flag: None}, asks=True)
    assert _questions()[flag].default(plan) in {lines[-1], _questions()[flag].default(PLAN)}
    assert rules_of(plan)
    errors = capfd.readouterr().err
    assert f"{said}" in errors
    assert errors.count("]: ") == len(lines)


def test_a_wrong_flag_is_said_before_anything_is_asked(monkeypatch, capfd):
    given = dict.fromkeys(_questions())
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    for flag, value in (("difficulty", "5"), ("magic", "zz"), ("message", "\u00e9")):
        with pytest.raises(UsageError, match=f"--{flag}"):
            _chosen(PLAN, given | {flag: value}, asks=True)
    assert capfd.readouterr().err == ""
    with pytest.raises(UsageError, match="no answer: the input ended"):
        _chosen(PLAN, given, asks=True)


def test_a_given_seed_gets_the_port_for_peers_that_is_answered(monkeypatch):
    given = {name: question.default(PLAN) for name, question in _questions().items()}
    monkeypatch.setattr("sys.stdin", io.StringIO("5\n"))
    plan, _ = _chosen(PLAN, given | {"p2p-port": None, "seed": "192.0.2.1"}, asks=True)
    assert plan.seeds == ("192.0.2.1:5",)


@pytest.mark.parametrize(
    ("hashes", "said"),
    [
        (599, "1: 599 hashes make a block; it"),
        (600, "1: 1 hashes a second make a block each 600 s"),
    ],
)
def test_a_difficulty_below_a_hash_a_second_is_said_in_hashes(hashes, said):
    found = described(REGTEST, PORTS["regtest"], ())
    lines = dict(described_lines(found | {"first_hashes": hashes, "first_difficulty": 1}))
    assert lines["first difficulty"].startswith(said)
