"""A wrong flag of either command ends in one plain line; an empty value is never taken."""

import pytest
import typer

from chain.cli.commands import app as groat
from chain.help_text import option_term
from chain.near_names import did_you_mean
from chain.usage import Command
from wallet.command_line import app as wallet

APPS = {
    "groat": typer.main.get_command(groat),
    "groat-wallet": typer.main.get_command(wallet),
}
MAY_BE_EMPTY = {"label"}


def commands_of(group, *path):
    """Yield every command below a group, with its path."""
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands_of(command, *path, name)


def options_with_values():
    for app_name, app in APPS.items():
        for path, command in commands_of(app):
            for option in command.params:
                if option.param_type_name == "option" and not getattr(option, "is_flag", False):
                    yield app_name, path, max(option.opts, key=len), option.name


@pytest.fixture
def lines_of(capfd):
    """Return a function that runs a command, and gives its exit code and lines of errors."""

    def run(app_name, *words):
        with pytest.raises(SystemExit) as ended:
            APPS[app_name].main(list(words), prog_name=app_name)
        return ended.value.code, capfd.readouterr().err.splitlines()

    return run


@pytest.mark.parametrize(
    ("flag", "why"),
    [
        ("--network", "the network is that of the node at --node"),
        ("--datadir=/x", "--cookie DATADIR/NETWORK/.cookie is the login of a node on this machine"),
        ("--api", "--node URL names the node"),
    ],
)
def test_mine_says_where_it_has_from_what_other_commands_take_as_a_flag(lines_of, flag, why):
    code, [line] = lines_of("groat", "mine", "--node", "http://x", flag, "regtest")
    name = flag.split("=")[0]
    assert (code, line) == (2, f"groat: no such option: {name}; {why} (see groat mine --help)")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rpc", "--network", "regtest", "-strange=x", "help"], "no such option: -strange"),
        (["-h"], "no such option: -h; did you mean --help?"),
        (["status", "-h"], "no such option: -h; did you mean --help?"),
        (["status", "-regtest"], "no such option: -regtest; did you mean --network regtest?"),
        (["status", "--testnet"], "no such option: --testnet; did you mean --network test?"),
        (["node", "--signet"], "no such option: --signet; did you mean --network test?"),
        (
            ["import", "--regtest", "x"],
            "no such option: --regtest; did you mean --network regtest?",
        ),
        (["version", "--regtest"], "no such option: --regtest"),
        (["node", "-port=1"], "-port is bitcoind's: use --p2p HOST:PORT"),
        (["node", "--rpcuser", "x"], "--rpcuser is bitcoind's: use --rpc-auth USER:SALT$HMAC"),
        (["node", "-debg"], "no such option: -debg; did you mean --debug?"),
        (["rpc", "-nmaed", "help"], "no such option: -nmaed; did you mean --named?"),
        (["status", "-network", "regtest"], "no such option: -network; did you mean --network?"),
        (["-version"], "no such option: -version; did you mean --version?"),
        (["status", "-c"], "no such option: -c"),
    ],
)
def test_an_unknown_word_with_one_hyphen_is_named_in_full(lines_of, words, message):
    code, [line] = lines_of("groat", *words)
    assert code == 2
    assert line.startswith(f"groat: {message} (see groat")


def test_every_option_with_an_empty_value_is_refused_by_name(lines_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checked = 0
    for app_name, path, flag, name in options_with_values():
        if name in MAY_BE_EMPTY:
            continue
        for words in ([flag, ""], [f"{flag}="]):
            code, [line] = lines_of(app_name, *path, *words)
            assert code == 2, (path, words)
            assert f"{flag} is empty: give it a value, or leave it out" in line, (path, words)
        checked += 1
    assert checked > 150
    assert list(tmp_path.iterdir()) == []


def test_every_command_has_the_class_that_looks_for_empty_values():
    for app_name, app in APPS.items():
        for path, command in commands_of(app):
            assert isinstance(command, Command) or hasattr(command, "commands"), (app_name, path)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["groat", "node", "--mine-threads", "x"], "--mine-threads: must be a whole number"),
        (["groat", "node", "--nosuch"], "no such option: --nosuch"),
        (["groat", "bench", "miner", "--seconds", "x"], "--seconds: must be a number"),
        (["groat", "simulate", "--nodes", "1"], "--nodes: must be 2 or more"),
        (["groat", "export"], "missing argument: FILE"),
        (["groat", "nosuch"], "no such command: 'nosuch' (see"),
        (["groat", "node", "--peer"], "--peer needs a value"),
        (["groat", "node", "--netwrk", "x"], "no such option: --netwrk; did you mean --network?"),
        (["groat", "stats"], "no such command: 'stats'; did you mean status?"),
        (["groat", "simulate", "--plot", "/nope/x.svg"], "there is no folder /nope"),
        (["groat-wallet", "history", "--limit"], "--limit needs a value"),
        (["groat-wallet", "history", "--limit", "x"], "--limit: must be a whole number"),
        (["groat-wallet", "history", "--limit", "0"], "--limit: must be 1 or more"),
        (
            ["groat-wallet", "history", "--kind", "x"],
            "--kind: 'x' is not one of received, sent, mined, imm",
        ),
        (["groat-wallet", "balance", "extra", "More"], "unexpected argument: extra More (see"),
        (["groat", "status", "x" * 999], "unexpected argument: xxx"),
        (["groat", "status", "--json=1"], "--json takes no value (see"),
        (["groat-wallet", "psbt", "nosuch"], "no such command: 'nosuch' (see"),
    ],
)
def test_a_wrong_flag_is_one_line_in_plain_words(lines_of, words, line):
    code, [text] = lines_of(*words)
    assert code == 2
    assert line in text
    assert text.startswith(f"{words[0]}: ")
    assert text.endswith(" --help)")
    assert len(text) < 500
    assert text.removeprefix(f"{words[0]}: ")[0].islower() or ": -" in text, "the program's words"
    for word in ("Input should", "Value error", "unable to", "Invalid value", "equal to"):
        assert word not in text


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["mine", "--node", "foo", "--address", "x"], "a login is needed: --cookie FILE"),
        (["mine", "--node", "foo", "--address", "x", "--cookie", "c"], "'foo' is not an http"),
        (["node", "--network", "regtst"], "did you mean regtest?"),
        (["node", "--debug", "mepool"], "did you mean mempool?"),
        (
            ["node", "--rpc-auth", "foo", "--network", "regtest"],
            "setting rpc_auth: must be USER:SALT$HMAC",
        ),
        (
            ["node", "--database", "/x/y.db"],
            "a file is sqlite:////PATH, PostgreSQL postgresql+psycopg",
        ),
        (["bench", "miner", "--seconds", "0"], "--seconds: must be 0.1 or more"),
        (["rpc", "--user", "x", "--cookie", "y", "help"], "--user and --cookie exclude each other"),
        (["simulate", "--scenario", "stedy"], "did you mean steady?"),
        (["rpc", "--api", "http://a@b", "getblockcount"], "the URL has a user or password"),
        (["rpc"], "no method: name one"),
    ],
)
def test_a_wrong_value_of_a_flag_is_one_line_and_exit_code_2(
    lines_of, words, line, tmp_path, monkeypatch
):
    monkeypatch.setenv("GROAT_DATADIR", str(tmp_path))
    code, [text] = lines_of("groat", *words)
    assert code == 2
    assert text.startswith("groat: ")
    assert line in text


def test_a_name_that_is_near_nothing_has_no_hint():
    assert did_you_mean("x" * 10, ["main", "test"]) == ""
    assert did_you_mean("main" * 1000, ["main" * 1000]) == "", "too long to compare"


@pytest.mark.parametrize(("app_name", "width"), [("groat", 80), ("groat-wallet", 80)])
def test_every_help_fits_80_columns_and_breaks_no_paragraph(app_name, width, monkeypatch, capfd):
    monkeypatch.setenv("COLUMNS", str(width))
    for path, command in commands_of(APPS[app_name]):
        assert "\n" not in (command.help or "").replace("\n\n", ""), path
        with pytest.raises(SystemExit):
            APPS[app_name].main([*path, "--help"], prog_name=app_name)
        assert max(map(len, capfd.readouterr().out.splitlines())) <= width, path


def test_help_names_what_each_flag_takes_and_says_what_it_does():
    for app_name, app in APPS.items():
        for path, command in commands_of(app):
            for parameter in command.params:
                name = app_name, path, parameter.name
                takes_value = not getattr(parameter, "is_flag", False)
                assert not takes_value or parameter.metavar, f"{name}: a library's type instead"
                assert parameter.help, name


def test_help_lists_common_flags_before_others_and_no_types_of_the_library(lines_of, capfd):
    with pytest.raises(SystemExit):
        APPS["groat"].main(["node", "--help"], prog_name="groat")
    lines = capfd.readouterr().out.splitlines()
    heads = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert heads == ["Common flags:", "Peers:", "Mining:", "Log:", "Options:"]
    assert lines[0] == "Usage: groat node [OPTIONS]"
    assert any(line.split()[:2] == ["--mine", "ADDRESS"] for line in lines)
    assert any(line.split()[:2] == ["--mine-alone", "Mine"] for line in lines), "takes nothing"
    assert not any(word in line for line in lines for word in ("<", "INTEGER", "TEXT", "[x>="))


def test_a_flag_without_a_metavar_takes_a_value_not_a_type():
    [option] = typer.main.get_command(_with_a_bare_option()).params[:1]
    assert option_term(option) == "--count VALUE"


def _with_a_bare_option():
    app = typer.Typer(add_completion=False)

    @app.command()
    def command(count: int = 1):
        del count

    return app


@pytest.fixture
def completions(monkeypatch, capfd, tmp_path):
    """Return a function that gives what bash offers at the end of a command line."""
    (tmp_path / "village.toml").touch()
    (tmp_path / "regtest/wallets/shop").mkdir(parents=True)
    (tmp_path / "regtest/wallets/shop/keys.json").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GROAT_DATADIR", str(tmp_path))
    monkeypatch.setenv("GROAT_NETWORK", "regtest")

    def run(app_name, line):
        variable = f"_{app_name.replace('-', '_').upper()}_COMPLETE"
        monkeypatch.setenv(variable, "complete_bash")
        monkeypatch.setenv("COMP_WORDS", f"{app_name} {line}")
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" "))))
        with pytest.raises(SystemExit):
            APPS[app_name].main([], prog_name=app_name)
        return capfd.readouterr().out.split()

    return run


@pytest.mark.parametrize(
    ("app_name", "line", "offered"),
    [
        ("groat", "node --network re", ["regtest"]),
        ("groat", "node --debug me", ["mempool"]),
        ("groat", "simulate --scenario by", ["byzantine"]),
        ("groat", "bench miner --build a", ["avx512", "avx2"]),
        ("groat", "bench import --network vil", ["village.toml"]),
        ("groat", "network show ", ["main", "test", "devnet", "regtest", "village.toml"]),
        ("groat", "network nonce vil", ["village.toml"]),
        ("groat", "rpc getbl", []),  # no node runs
        ("groat", "rpc --network nosuch getbl", []),
        ("groat", "rpc --api http://[ getbl", []),
        ("groat-wallet", "--network vil", ["village.toml"]),
        ("groat-wallet", "create --words ", ["12", "24"]),
        ("groat-wallet", "history --kind m", ["mined"]),
        ("groat-wallet", "-w s", ["shop"]),
        ("groat-wallet", "--network nosuch -w s", []),
    ],
)
def test_values_are_completed_and_what_is_wrong_completes_to_nothing(
    completions, app_name, line, offered
):
    assert completions(app_name, line) == offered
