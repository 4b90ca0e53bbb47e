"""Every command as people and scripts use it."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from chain.consensus.params import NETWORKS, REGTEST
from chain.primitives.numbers import GRAINS_PER_GROAT
from tests.wallet.conftest import ABANDON, CHEAP, LEGAL, Cli
from tests.wallet.esplora_stub import RegtestChain
from wallet.command_line import app
from wallet.errors import InputError
from wallet.flags import Common
from wallet.keys.account import Account, Keychain, account_key
from wallet.keys.keyfile import DAMAGED, seal
from wallet.keys.secret import Secret
from wallet.network import find_network, local_node
from wallet.store.folder import wallet_folder

COMMANDS = ["create", "restore", "list", "export", "show-seed", "address", "balance", "history"]
COMMANDS += ["utxos", "send", "bump", "cpfp", "broadcast", "freeze", "unfreeze", "label"]
COMMANDS += [f"psbt {word}" for word in ("create", "show", "sign", "combine", "finalize")]
COMMANDS += ["psbt broadcast", "rescan", "decode", "info", "addresses", "password"]
GROAT = GRAINS_PER_GROAT
PAYEE = "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk"


@pytest.fixture
def offline(tmp_path):
    """A command line whose node does not answer."""
    return Cli(tmp_path, "http://127.0.0.1:1/api", RegtestChain())


def test_every_command_is_listed_here():
    group = get_command(app)
    words = [
        *group.commands.keys() - {"psbt"},
        *(f"psbt {w}" for w in group.commands["psbt"].commands),
    ]
    assert sorted(words) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_the_common_flags(command):
    result = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for flag in ("--network", "--json"):
        assert flag in result.output


def test_help_lists_commands_and_exit_codes():
    output = " ".join(CliRunner().invoke(app, ["--help"]).output.split())
    for command in COMMANDS:
        assert f" {command.split()[0]} " in output
    for code in ("2 wrong", "3 node", "4 node", "5 wallet", "6 not", "7 refused", "8 refused"):
        assert code in output


def test_create_shows_words_that_restore_to_the_same_address(cli):
    made = cli.json("create", "--no-password", "--words", "24")
    assert len(made["words"].split()) == 24
    again = cli.json("restore", "--no-password", wallet="two", stdin=made["words"] + "\n")
    assert again["address"] == made["address"] == cli.json("address")["address"]
    assert "words" not in again


def test_create_refuses_to_overwrite(cli):
    cli.run("create", "--no-password")
    before = (cli.datadir / "regtest" / "wallets" / "default" / "keys.json").read_bytes()
    for command, stdin in (("create", ""), ("restore", ABANDON + "\n")):
        error = cli.error(command, "--no-password", code=5, stdin=stdin)
        assert "exists already" in error
    assert (cli.datadir / "regtest" / "wallets" / "default" / "keys.json").read_bytes() == before


@pytest.mark.parametrize("network", ["main", "test"])
def test_wallet_without_password_is_refused_where_coins_may_be_worth_something(offline, network):
    offline.network = network
    assert "devnet and regtest only" in offline.error("create", "--no-password", code=5)
    assert "no wallet" in offline.error("address", code=5)


def test_password_from_standard_input_and_from_a_descriptor(cli):
    cli.json("create", stdin="correct horse\n")
    kept = json.loads((cli.datadir / "regtest/wallets/default/keys.json").read_text())
    assert kept["kdf"]["log2_n"] == CHEAP.log2_n, "the commands leave the cost to `seal`"
    words = cli.json("show-seed", stdin="correct horse\n")["words"]
    reader, writer = os.pipe()
    os.write(writer, b"correct horse\nmore")
    os.close(writer)
    try:
        assert cli.json("show-seed", "--password-fd", str(reader))["words"] == words
    finally:
        os.close(reader)
    error = cli.error("show-seed", code=5, stdin="wrong\n")
    assert error == "wrong password"
    assert "expected on standard input" in cli.error("show-seed", code=2)
    assert "cannot be empty" in cli.error("show-seed", code=2, stdin="\n")
    assert "--password-fd 99" in cli.error("show-seed", "--password-fd", "99", code=2)


@pytest.mark.parametrize("descriptor", ["99", str(1 << 40)])
@pytest.mark.parametrize("command", ["list", "balance", "decode 00", "send X 1", "create"])
def test_a_descriptor_that_is_not_open_is_refused_by_every_command(cli, command, descriptor):
    error = cli.error(*command.split(), "--password-fd", descriptor, code=2)
    assert error == f"--password-fd {descriptor}: no such file descriptor is open"


def test_a_descriptor_of_the_new_password_that_is_not_open_is_named(cli):
    cli.run("create", "--no-password")
    error = cli.error("password", "--new-password-fd", "99", code=2)
    assert error == "--new-password-fd 99: no such file descriptor is open"


@pytest.mark.parametrize(
    "words",
    [
        "password --no-password --new-password-fd 0",
        "create --descriptor x --no-password",
        "create --descriptor x --ask-passphrase",
    ],
)
def test_flags_that_contradict_each_other_are_refused(cli, words):
    if words.startswith("password"):
        cli.run("create", "--no-password")
    assert "exclude each other" in cli.error(*words.split(), code=2)


@pytest.mark.parametrize("text", ["x", "00", "0" * 63])
def test_a_broadcast_of_no_transaction_needs_no_node_to_be_refused(offline, text):
    offline.run("create", "--no-password")
    assert "not a transaction in hex" in offline.error("broadcast", text, code=2)


def test_the_wallet_takes_a_tilde_in_the_data_directory_as_the_node_does(cli, monkeypatch):
    monkeypatch.setenv("HOME", str(cli.datadir))
    cli.json("create", "--no-password", "--datadir", "~/data")
    assert (cli.datadir / "data/regtest/wallets/default").is_dir()
    error = cli.error("list", "--datadir", "~nosuchuser/x", code=2)
    assert error.startswith("--datadir ~nosuchuser/x: no such user; a folder of that name is ./~no")


@pytest.mark.parametrize("command", ["list", "balance", "create --no-password", "info"])
@pytest.mark.parametrize(("place", "datadir"), [("a", "a"), ("a", "a/b/c"), ("a/regtest", "a")])
def test_a_file_in_place_of_the_data_directory_is_refused_by_every_command(
    cli, command, place, datadir
):
    file = cli.datadir / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    cli.datadir /= datadir
    error = cli.error(*command.split(), code=2)
    assert error == f"{file} is not a folder: choose another by --datadir"


@pytest.mark.parametrize(("password", "warned"), [("seven77", True), ("eight888", False)])
def test_a_short_new_password_is_warned_of(cli, password, warned):
    created = cli.run("create", stdin=f"{password}\n")
    assert ("a short password" in created.stderr) == warned
    assert "a short password" not in cli.run("show-seed", stdin=f"{password}\n").stderr


def test_passphrase_makes_another_wallet(cli):
    plain = cli.json("restore", "--no-password", wallet="plain", stdin=ABANDON + "\n")
    stdin = ABANDON + "\ncorrect\n"
    other = cli.json("restore", "--no-password", "--ask-passphrase", wallet="other", stdin=stdin)
    assert plain["address"] != other["address"]
    assert cli.json("show-seed", wallet="other") == {"words": ABANDON, "passphrase": "correct"}
    assert "passphrase: correct" in cli.run("show-seed", wallet="other").stdout


@pytest.mark.parametrize("flag", ["--password", "--passphrase", "--words", "--seed", "--mnemonic"])
@pytest.mark.parametrize("command", ["create", "restore", "send", "show-seed"])
def test_no_secret_can_be_given_as_an_argument(offline, command, flag):
    result = offline.run(command, flag, "hunter2 hunter2", code=2)
    assert "exit" not in result.stdout


def test_restore_tells_which_word_is_wrong_and_keeps_nothing(cli):
    words = ABANDON.replace("about", "abuot")
    error = cli.error("restore", "--no-password", code=2, stdin=words + "\n")
    assert "word 12" in error
    assert "abuot" not in error
    assert not (cli.datadir / "regtest").exists()


def test_restore_without_a_node_still_restores(offline):
    result = offline.run("restore", "--no-password", "--json", stdin=ABANDON + "\n")
    assert "not scanned for coins" in result.stderr
    assert json.loads(result.stdout)["transactions"] is None
    assert offline.json("show-seed")["words"] == ABANDON


def test_list_shows_every_wallet_of_the_network_even_damaged_ones(cli):
    assert cli.json("list") == []
    assert "(--network)" not in cli.run("list").stderr
    cli.make(ABANDON, "one")
    cli.make(LEGAL, "two", password="secret")
    cli.make(LEGAL, "three")
    path = cli.datadir / "regtest" / "wallets" / "three" / "keys.json"
    path.write_bytes(path.read_bytes()[:-5])
    found = {row["wallet"]: row["state"] for row in cli.json("list")}
    assert found == {
        "one": "clear text",
        "two": "encrypted",
        "three": DAMAGED,
    }
    assert "no password" in cli.run("list").stdout
    cli.network = "devnet"
    assert cli.json("list") == []
    assert "but there are some of network regtest (--network): make one" in cli.run("list").stderr


def test_address_is_the_next_unused_and_new_the_next_untold(cli, regtest):
    account = cli.make()
    expected = [account.address(Keychain.RECEIVE, index) for index in range(4)]
    assert [cli.json("address")["address"] for _ in range(2)] == expected[:1] * 2
    assert [cli.json("address", "--new")["address"] for _ in range(2)] == expected[1:3]
    regtest.mine(account.script(Keychain.RECEIVE, 0))
    assert cli.json("address")["address"] == expected[1]
    regtest.mine(account.script(Keychain.RECEIVE, 2))
    assert cli.json("address")["address"] == expected[3]
    assert cli.run("address").stdout == expected[3] + "\n"


def test_address_needs_no_node(offline):
    account = offline.make()
    result = offline.run("address")
    assert result.stdout.strip() == account.address(Keychain.RECEIVE, 0)
    assert "from memory" in result.stderr


def test_address_beyond_the_gap_warns(cli):
    cli.make()
    notes = [cli.run("address", "--new").stderr for _ in range(21)]
    assert notes[:20] == [""] * 20
    assert "never used" in notes[20]


def test_address_as_payment_request_and_qr(cli):
    address = cli.make().address(Keychain.RECEIVE, 0)
    found = cli.json("address", "--amount", "1.5", "--label", "tea & milk")
    assert found["uri"] == f"bitcoin:{address}?amount=1.5&label=tea%20%26%20milk"
    drawn = cli.run("address", "--qr").stdout
    assert "█" in drawn
    assert address in drawn
    assert "not an amount" in cli.error("address", "--amount", "1,5", code=2)


@pytest.mark.parametrize(
    "flags", [[], ["--label", "tea"], ["--amount", "1.5"], ["--amount", "1", "--label", "b"]]
)
def test_standard_output_is_the_address_alone(cli, flags):
    address = cli.make().address(Keychain.RECEIVE, 0)
    cli.run("label", address, "old label")
    done = cli.run("address", *flags)
    assert done.stdout == f"{address}\n"
    assert ("label: old label" in done.stderr) == ("--label" not in flags)
    assert (f"payment request: bitcoin:{address}?" in done.stderr) == bool(flags)


def test_a_payment_request_alone_is_asked_for_by_a_flag(cli):
    address = cli.make().address(Keychain.RECEIVE, 0)
    done = cli.run("address", "--uri", "--amount", "1.5")
    assert (done.stdout, done.stderr) == (f"bitcoin:{address}?amount=1.5\n", "")
    assert cli.run("address", "--uri").stdout == f"bitcoin:{address}\n"


def test_balance_and_history_and_coins(cli, rich, regtest):
    regtest.mine(rich.script(Keychain.RECEIVE, 1))
    text = cli.run("balance").stdout
    for line in ("trusted", "50.00000000 GROAT", "immature", "untrusted pending", "total"):
        assert line in text
    assert cli.json("balance") == {
        "trusted": 50 * GROAT,
        "untrusted_pending": 0,
        "immature": 50 * GROAT,
        "total": 100 * GROAT,
        "frozen": 0,
        "unit": "grain",
        "as_of": None,
    }
    new, old = cli.json("history")
    assert (new["confirmations"], old["confirmations"]) == (1, 101)
    assert (new["amount"], new["fee"], new["coinbase"]) == (50 * GROAT, None, True)
    assert old["height"] == 1
    assert old["date"].startswith("2011-02-02 ")
    table = cli.run("history").stdout
    assert old["txid"] in table
    assert "+50.00000000" in table
    coins = cli.json("utxos")
    assert [coin["spendable"] for coin in coins] == [True, False]
    assert [coin["status"] for coin in coins] == ["confirmed", "immature"]
    assert f"{coins[0]['txid']}:{coins[0]['vout']}" in cli.run("utxos").stdout


@pytest.mark.parametrize(("limit", "heights"), [("1", [3]), ("2", [3, 2]), ("9", [3, 2, 1])])
def test_history_can_be_cut_to_the_newest(cli, limit, heights):
    cli.chain.mine(cli.make().script(Keychain.RECEIVE, 0), 3)
    shown = cli.json("history", "--limit", limit)
    assert [line["height"] for line in shown] == heights


@pytest.mark.parametrize("command", ["balance", "history", "utxos"])
def test_empty_wallet(cli, command):
    cli.make()
    cli.run(command)
    found = cli.json(command)
    assert found == [] or found["total"] == 0


@pytest.mark.parametrize("words", [["balance"], ["history"], ["utxos"], ["send", PAYEE, "1"]])
def test_node_that_is_down_is_one_line_with_what_to_do(offline, words):
    offline.make()
    error = offline.error(*words, code=3)
    assert "cannot reach a node at http://127.0.0.1:1/api" in error
    assert "groat node --network regtest" in error
    assert "--node" in error


def test_node_of_another_network_is_refused(cli):
    cli.network = "devnet"
    cli.make()
    for command in ("balance", "address"):
        assert "not of network devnet" in cli.error(command, code=4)


def test_strange_node_is_refused(cli, stub):
    cli.make()
    stub.override["/api/blocks/tip/height"] = (200, b"<html>\x1b[31m")
    assert "not what an Esplora server gives" in cli.error("balance", code=3)
    stub.override["/api/blocks/tip/height"] = (500, b"oops\x1b[2J\n")
    assert "answers 500" in cli.error("balance", code=3)


def test_wallet_that_others_may_read_is_refused(cli):
    cli.make()
    (cli.datadir / "regtest" / "wallets" / "default" / "keys.json").chmod(0o640)
    assert "chmod 600" in cli.error("balance", code=5)


def test_damaged_state_says_that_it_can_go(cli):
    cli.make()
    cli.run("address")
    path = cli.datadir / "regtest" / "wallets" / "default" / "state.json"
    below_zero = b'{"version":1,"handed_out":[-1,0],"used":[0,0],"pending":[]}'
    no_payment = b'{"version":1,"handed_out":[0,0],"used":[0,0],"pending":[[1,"00"]]}'
    for damage in (b"{", b"[]", b'{"version":1}', below_zero, no_payment):
        path.write_bytes(damage)
        assert "can be deleted" in cli.error("balance", code=5)
    path.unlink()
    cli.run("balance")


def test_common_flags_go_before_and_after_and_from_the_environment(tmp_path, stub):
    Cli(tmp_path, stub.url, stub.chain).make(wallet="w")
    environment = {
        "GROAT_WALLET_NODE": "http://127.0.0.1:1/api",
        "GROAT_DATADIR": str(tmp_path),
        "GROAT_NETWORK": "main",
    }
    flags = ["--node", stub.url, "--network", "regtest", "-w", "w", "--json"]
    for before in (0, 2, 4, 7):
        words = [*flags[:before], "balance", *flags[before:]]
        result = CliRunner().invoke(app, words, env=environment)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["total"] == 0
    away = CliRunner().invoke(app, ["balance", *flags[2:]], env=environment)
    assert "cannot reach a node at http://127.0.0.1:1/api" in away.stderr
    wrong_then_right = ["--network", "test", "-w", "x", "balance", *flags]
    assert CliRunner().invoke(app, wrong_then_right, env=environment).exit_code == 0


def test_a_wallet_with_a_similar_name_is_suggested(cli):
    cli.make(wallet="savings")
    assert "did you mean 'savings'?" in cli.error("balance", wallet="savngs", code=5)
    assert "did you mean" not in cli.error("balance", wallet="other", code=5)


@pytest.mark.parametrize("name", ["../x", " ", ".", "a/b", "x" * 65, "a b"])
def test_wallet_name_cannot_leave_its_folder(cli, name):
    assert "name" in cli.error("balance", "-w", name, code=2)


@pytest.mark.parametrize(
    ("network", "hint"), [("mainnet", "no such network"), ("missing.toml", "No such file")]
)
def test_unknown_network_is_refused(cli, network, hint):
    assert hint in cli.error("balance", "--network", network, code=2)


def test_network_file(cli, tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("name = 3")
    assert "describes no network" in cli.error("balance", "--network", str(path), code=2)


def test_process_can_leave_no_core_and_its_entry_points_work(cli):
    cli.make()
    script = (
        "import resource, sys\nfrom wallet.command_line import app\n"
        "try:\n    app(sys.argv[1:])\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0])\n"
    )
    flags = ["--network", "regtest", "--datadir", str(cli.datadir), "--node", cli.node]
    for start in (["-c", script], ["-m", "wallet"]):
        command = [sys.executable, *start, *flags, "balance", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert json.loads(done.stdout.splitlines()[0])["total"] == 0
        assert start[0] == "-m" or done.stdout.splitlines()[1] == "0"


@pytest.mark.parametrize(
    ("network", "port"), [("main", 9445), ("test", 19445), ("devnet", 29445), ("regtest", 39445)]
)
def test_local_node_is_the_default(network, port, tmp_path):
    assert local_node(NETWORKS[network], network, tmp_path) == f"http://127.0.0.1:{port}/api"


@pytest.mark.parametrize(
    ("ports", "url"), [("", None), ("[ports]\napi = 7\n", "http://127.0.0.1:7/api")]
)
def test_a_network_file_may_name_the_port_of_its_node(tmp_path, ports, url):
    path = tmp_path / "own.toml"
    path.write_text(ports)
    if url:
        assert local_node(replace(REGTEST, name="own"), str(path), tmp_path) == url
    else:
        with pytest.raises(InputError, match="--node URL"):
            local_node(replace(REGTEST, name="own"), str(path), tmp_path)


def test_the_file_that_describes_a_network_to_the_node_serves_the_wallet_too(tmp_path):
    rules = asdict(replace(REGTEST, name="own"))
    lines = [
        f"{name} = {json.dumps(value.hex() if isinstance(value, bytes) else value)}"
        for name, value in rules.items()
    ]
    path = tmp_path / "own.toml"
    path.write_text("[rules]\n" + "\n".join(lines))
    assert find_network(str(path)) == replace(REGTEST, name="own")


def test_a_node_address_without_a_scheme_is_named(cli):
    cli.make()
    said = cli.error("balance", "--node", "127.0.0.1:1", code=2)
    assert "http://HOST:PORT/api" in said


@pytest.mark.parametrize("second", [b"hunter2", b"hunter3"])
def test_password_on_a_terminal_is_asked_twice_and_not_echoed(tmp_path, second):
    """If the two differ, both are asked for again, three times at most."""
    terminal, device = os.openpty()
    command = [sys.executable, "-m", "wallet", "create", "--json", "--network", "regtest"]
    tries = 1 if second == b"hunter2" else 3
    with subprocess.Popen(
        [*command, "--datadir", str(tmp_path)],
        stdin=device,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # so that it has no other terminal than this
    ) as process:
        for turn in range(tries):
            shown = b"\nThe two passwords differ.\n" if turn else b""
            assert process.stderr.read(len(shown) + 10) == shown + b"Password: "
            os.write(terminal, b"hunter2\n")
            assert process.stderr.read(17) == b"\nPassword again: "
            os.write(terminal, second + b"\n")
        output, errors = process.communicate(timeout=60)
    assert process.returncode == (0 if tries == 1 else 2), errors
    assert errors.count(b"the two passwords differ\n") == (tries > 1)
    os.set_blocking(terminal, False)
    with contextlib.suppress(BlockingIOError):
        assert b"hunter" not in os.read(terminal, 1000)
    os.close(device)
    os.close(terminal)
    assert b"hunter" not in output + errors


def test_descriptor_0_counts_as_given():
    assert Common(password_fd=0).over(Common(password_fd=5)).password_fd == 0
    assert Common().over(Common(password_fd=5, json=True)) == Common(password_fd=5, json=True)


def test_shell_completion_is_offered_and_installs(tmp_path):
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "wallet"]
    asked = {"_GROAT_WALLET_COMPLETE": "complete_bash", "COMP_WORDS": "groat-wallet un"}
    done = subprocess.run(
        command, env=home | asked | {"COMP_CWORD": "1"}, capture_output=True, timeout=60, check=True
    )
    assert done.stdout.split() == [b"unfreeze"]
    command = [
        shutil.which("bash"),
        "-c",
        f"{sys.executable} -m wallet --install-completion; exit $?",
    ]
    done = subprocess.run(command, env=home, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "groat-wallet" in (tmp_path / ".bashrc").read_text()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (["-w", "s"], ["savings", "shop"]),
        (["balance", "-w", "sh"], ["shop"]),
        (["-w", "x"], []),
        (["--network", "re"], ["regtest"]),
        (["--network", "devnet", "-w", "s"], []),
    ],
)
def test_shell_completion_knows_wallets_and_networks(cli, typed, completed):
    for name in ("shop", "savings", "default"):
        cli.make(wallet=name)
    asked = {
        "_GROAT_WALLET_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["groat-wallet", *typed]),
        "COMP_CWORD": str(len(typed)),
        "GROAT_NETWORK": "regtest",
        "GROAT_DATADIR": str(cli.datadir),
    }
    result = CliRunner().invoke(app, [], env=asked, prog_name="groat-wallet")
    assert result.stdout.split() == completed


def test_words_that_do_not_belong_to_the_account_are_damage(cli):
    stranger = Account(account_key(Secret(LEGAL), REGTEST).public(), REGTEST)
    key_file = seal(Secret(ABANDON), None, network="regtest", account=stranger.encode())
    wallet_folder(cli.datadir, REGTEST, "default").create(key_file)
    assert cli.error("show-seed", code=5) == DAMAGED
