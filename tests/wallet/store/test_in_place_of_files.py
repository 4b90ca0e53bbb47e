"""A pipe, a device, a socket or a folder in place of one of the wallet's files: nothing waits."""

import shutil

import pytest

from tests.service.test_regular_file import KINDS, at_once

STRANGER = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
LOOKS = [["balance"], ["history"], ["list"], ["address"]]
CHANGES = [["label", STRANGER, "x"], ["send", STRANGER, "1", "--yes", "--json"], ["rescan"]]
FILES = ["keys.json", "state.json", "lock", "cache.sqlite", "cache.sqlite-journal"]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_every_command_ends_at_once_with_an_answer_or_one_line(cli, rich, name, make):
    path = cli.datadir / "regtest" / "wallets" / "default" / name
    for words in (*LOOKS, *CHANGES):
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        make(path)
        with at_once():
            result = cli.run_any(*words)
        assert result.exit_code in {0, 5}, (words, result.output)
        if result.exit_code:
            [line] = result.stderr.splitlines()
            assert line.startswith("groat-wallet: ")
            assert str(path) in line, line
        else:
            assert name not in {"keys.json", "state.json"} or words == ["list"], words
