"""Standard input as people make it: wrapped, numbered, with a byte order mark or CRLF."""

import base64
import contextlib
import os
import pty
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mnemonic import Mnemonic

from chain.primitives.numbers import GRAINS_PER_GROAT
from chain.primitives.psbt import PSBT_MAGIC, decode_psbt
from tests.primitives.test_psbt import WITHOUT_OUTPUTS
from tests.wallet.conftest import ABANDON, LEGAL
from wallet.errors import InputError
from wallet.keys.secret import listed_words
from wallet.psbt.stream import _End

GROAT = GRAINS_PER_GROAT
STRANGER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
BOM = "\ufeff"
WORDS = LEGAL.split()


def lines_of(words, width):
    return "\n".join(" ".join(words[at : at + width]) for at in range(0, len(words), width))


def numbered(mark):
    return "\n".join(f"{at}{mark}{word}" for at, word in enumerate(WORDS, 1))


COLUMNS = "\n".join(f"{at}. {WORDS[at - 1]}\t{at + 6}. {WORDS[at + 5]}" for at in range(1, 7))


TABLE = "\n".join(
    f"| {at} | {WORDS[at - 1]} | {at + 6} | {WORDS[at + 5]} |\n+---+------+----+------+"
    for at in range(1, 7)
)
CSV = "\n".join(f"{at},{word}" for at, word in enumerate(WORDS, 1))


@pytest.mark.parametrize(
    "text",
    [
        LEGAL,
        BOM + LEGAL,
        lines_of(WORDS, 4),
        lines_of(WORDS, 1),
        lines_of(WORDS, 5),
        lines_of(WORDS, 4).replace("\n", "\r\n"),
        lines_of(WORDS, 6).replace("\n", "\n\n"),
        numbered(". "),
        numbered(") "),
        numbered(": "),
        numbered("."),
        numbered(" "),
        BOM + numbered("."),
        COLUMNS,
        LEGAL.upper(),
        LEGAL.replace(" ", ", "),
        LEGAL.replace(" ", "\u00a0"),
        LEGAL.replace(" ", ","),
        LEGAL.replace(" ", ";"),
        LEGAL.replace(" ", "\t|\t"),
        '["' + LEGAL.replace(" ", '", "') + '"]',
        "\u2018" + LEGAL.replace(" ", "\u2019 \u2018") + "\u2019",
        lines_of(WORDS, 3).replace(" ", " | "),
        TABLE,
        TABLE.replace("|", "\u2502"),
        CSV,
        CSV.replace(",", ";"),
        CSV.replace("\n", "\r\n"),
        CSV.replace(",", "\t"),
        numbered(" - "),
        numbered("="),
        numbered("\u2013"),
        numbered("").replace("\n", " "),
        "\n".join(f"({at}) {word}" for at, word in enumerate(WORDS, 1)),
        "\n".join(f"#{at:02} {word}" for at, word in enumerate(WORDS, 1)),
        "\n".join(f"- {word}" for word in WORDS),
        "\n".join(f"* {word}," for word in WORDS),
        ",".join(f"{word}" for word in WORDS) + ",",
    ],
)
def test_words_are_read_however_they_are_laid_out(cli, text):
    cli.run("restore", "--no-password", "--ask-passphrase", stdin=f"{text}\npass\n")
    shown = cli.json("show-seed")
    assert shown == {"words": LEGAL, "passphrase": "pass"}


@pytest.mark.parametrize("mark", [",", ", ", "|", "\t"])
def test_words_in_one_list_that_are_too_few_are_counted(cli, mark):
    error = cli.error("restore", "--no-password", stdin=mark.join(WORDS[:11]) + "\n", code=2)
    assert error.startswith("11 words given; a wallet has one of 12,")


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"), ("utf-16-be", "UTF-16"),
     ("utf-32", "UTF-32"), ("utf-32-le", "UTF-32"), ("utf-32-be", "UTF-32")],
)  # fmt: skip
@pytest.mark.parametrize("text", [LEGAL + "\n", lines_of(WORDS, 1) + "\npassword\n", LEGAL])
def test_words_in_a_wide_encoding_are_named_by_it(cli, encoding, name, text):
    error = cli.error("restore", stdin=text.encode(encoding), code=2)
    assert error.startswith("words: it ")
    assert name in error
    assert "save it as UTF-8" in error


@pytest.mark.parametrize("passphrase", ["", "zoo", "legal winner thank", "x y", "1. one"])
def test_line_behind_the_words_is_the_passphrase(cli, passphrase):
    cli.run("restore", "--no-password", "--ask-passphrase", stdin=f"{LEGAL}\n{passphrase}\n")
    assert cli.json("show-seed")["passphrase"] == passphrase


def test_password_that_begins_with_a_mark_is_still_that_password(cli):
    """It was part of the password in earlier versions: the wallet must open."""
    cli.make(password=f"{BOM}secret12")
    assert cli.json("show-seed", stdin=f"{BOM}secret12\n")["words"] == ABANDON


def test_password_comes_behind_words_on_several_lines(cli):
    cli.run("restore", stdin=lines_of(WORDS, 3) + "\nsecret12\n")
    assert cli.json("show-seed", stdin="secret12\n")["words"] == LEGAL


def test_words_with_two_possible_ends_are_refused_whole(cli):
    long = two_ends()
    error = cli.error("restore", code=2, stdin=lines_of(long.split(), 12) + "\nsecret12\n")
    assert error == "words: it is not clear where they end: write them on one line"
    assert not (cli.datadir / "regtest").exists()
    cli.run("restore", "--no-password", stdin=f"{long}\n")
    assert cli.json("show-seed")["words"] == long


def two_ends():
    """Return 24 words of a wallet the first 12 of which are a wallet's too: one in sixteen is."""
    language = Mnemonic("english")
    for number in range(16):
        words = language.to_mnemonic(bytes(16) + (number << 124).to_bytes(16, "big")).split()
        if language.check(" ".join(words[:12])):
            return " ".join(words)
    raise AssertionError("twelve words have four bits of checksum")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (numbered(". ").replace("12.", "11."), "do not count from 1"),
        (numbered(". ").replace("12. ", ""), "do not count from 1"),
        ("1. " + LEGAL, "do not count from 1"),
        (lines_of(WORDS[:11], 4), "11 words given"),
        (lines_of([*WORDS[:11], "legal"], 4), "do not fit together"),
        (lines_of([*WORDS[:3], "yelow", *WORDS[4:]], 3), "words"),
        ("", "expected on standard input"),
    ],
)
def test_wrong_words_are_refused_and_nothing_is_kept(cli, text, hint):
    assert hint in cli.error("restore", "--no-password", code=2, stdin=text)
    assert not (cli.datadir / "regtest").exists()


@given(st.text(alphabet="abz0123456789.): \n\t", max_size=60))
def test_any_text_is_words_or_an_input_error(text):
    with contextlib.suppress(InputError):
        assert not any(character in word for word in listed_words(text) for character in " \n\t")


@pytest.mark.parametrize("layout", [LEGAL, lines_of(WORDS, 4), numbered(". ")])
def test_words_can_be_pasted_into_a_terminal(tmp_path, layout):
    """No line is lost, and what was typed can be seen."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "wallet", "--network", "regtest", "--datadir", str(tmp_path)]
    command += ["--node", "http://127.0.0.1:1/api", "restore", "--no-password"]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        shown = b""
        while b"Words: " not in shown:
            shown += os.read(master, 1024)
        threading.Thread(target=os.write, args=(master, layout.encode() + b"\n")).start()
        with os.fdopen(master, "rb", buffering=0) as terminal:
            while True:
                try:
                    part = terminal.read(1024)
                except OSError:
                    break
                shown += part or b""
                if not part:
                    break
        assert process.wait(30) == 0, shown
    assert b"winner" in shown
    assert b"first address: bcrt1q" in shown


@pytest.fixture
def psbt(cli, rich):
    return cli.json("psbt", "create", STRANGER, "1")["psbt"]


def wrapped(text, width=76, end="\n"):
    return end.join(text[at : at + width] for at in range(0, len(text), width)) + end


@pytest.mark.parametrize(
    "layout",
    [
        wrapped,
        lambda text: wrapped(text, 64, "\r\n"),
        lambda text: BOM + wrapped(text),
        lambda text: wrapped(text, 4),
        lambda text: wrapped(text, 5),
        lambda text: wrapped(text, len(text) // 2),
        lambda text: "\n\n" + wrapped(text),
        lambda text: text + "\n",
        lambda text: f"  {text} \n",
    ],
)
def test_wrapped_psbt_is_read_whole_and_what_follows_is_left(cli, psbt, layout):
    assert cli.json("psbt", "show", "-", stdin=layout(psbt))["psbt"] == psbt
    signed = cli.json("psbt", "sign", "-", stdin=layout(psbt) + "y\n")
    assert signed["complete"]
    cli.error("psbt", "show", "-", stdin=layout(psbt)[: len(psbt) // 2], code=2)


def test_password_comes_behind_a_wrapped_psbt(cli, psbt):
    cli.make(wallet="locked", password="aaaabbbb")
    stdin = wrapped(psbt) + "aaaabbbb\ny\n"
    assert cli.json("psbt", "sign", "-", wallet="locked", stdin=stdin)["complete"]
    command = [sys.executable, "-m", "wallet", "--network", "regtest", "--datadir"]
    command += [str(cli.datadir), "-w", "locked", "--password-fd", "0", "psbt", "sign", "-"]
    done = subprocess.run(
        command, input=stdin.encode(), capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("blank", ["\n", "\r\n", " \n\n\t\n"])
def test_password_comes_behind_a_wrapped_psbt_and_blank_lines(cli, psbt, blank):
    cli.make(wallet="locked", password="aaaabbbb")
    for text in (wrapped(psbt), psbt + "\n"):
        stdin = text + blank + "aaaabbbb\ny\n"
        assert cli.json("psbt", "sign", "-", wallet="locked", stdin=stdin)["complete"]
    assert cli.json("psbt", "sign", "-", stdin=wrapped(psbt) + blank + "y\n")["complete"]
    error = cli.run("psbt", "sign", "-", stdin=wrapped(psbt) + blank, code=9).stderr
    assert error.endswith("not confirmed: nothing was signed (--yes confirms beforehand)\n")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-32-le"])
def test_psbt_in_a_wide_encoding_is_named_by_it(cli, psbt, encoding, tmp_path):
    data = wrapped(psbt).encode(encoding)
    path = tmp_path / "wide.psbt"
    path.write_bytes(data)
    name = encoding[:6].upper()
    for error in (
        cli.error("psbt", "show", "-", stdin=data, code=2),
        cli.error("psbt", "show", str(path), code=2),
    ):
        assert error.startswith("not a PSBT: it ")
        assert name in error


def test_binary_psbt_is_read_from_standard_input(cli, psbt):
    raw = base64.b64decode(psbt)
    assert cli.json("psbt", "show", "-", stdin=raw)["psbt"] == psbt


def test_psbt_in_a_file_or_argument_may_be_wrapped(cli, psbt, tmp_path):
    path = tmp_path / "payment.psbt"
    path.write_text(BOM + wrapped(psbt), encoding="utf-8")
    assert cli.json("psbt", "show", str(path))["psbt"] == psbt
    assert cli.json("psbt", "show", f" {psbt}\r\n")["psbt"] == psbt


@pytest.mark.parametrize("stdin", ["", "\n", "x\n", "hello world\n", "cHNidP8=\n", "AAAA\n"])
def test_what_is_no_psbt_is_one_line(cli, rich, stdin):
    assert "PSBT" in cli.error("psbt", "show", "-", stdin=stdin, code=2)


@given(st.data())
def test_end_of_a_psbt_is_found_wherever_it_is_cut(data):
    raw = base64.b64decode(WITHOUT_OUTPUTS) + b"\x00"
    decode_psbt(raw)
    text = base64.b64encode(raw)
    width = data.draw(st.integers(1, len(text)))
    parts = [text[at : at + width] for at in range(0, len(text), width)]
    end = _End()
    assert [end.is_reached(part) for part in parts] == [False] * (len(parts) - 1) + [True]


@given(st.binary(max_size=300))
def test_any_bytes_end_or_do_not(data):
    _End().is_reached(base64.b64encode(PSBT_MAGIC + data))
    _End().is_reached(data)
