"""The sample groat.toml has every setting, says the true defaults, and is taken as it is."""

import re
import tomllib
from pathlib import Path

import pytest
import typer

from chain.cli.commands import app
from chain.cli.sample_config import SAMPLE, sample_config
from chain.consensus.params import MAIN
from chain.primitives.address import script_address
from chain.settings import CONFIG_NAME, Settings, _Sources, load_settings
from tests.builders import KEY

ROOT = Path(__file__).resolve().parents[2]
COMMAND = typer.main.get_command(app)
SETTINGS = [setting for settings in SAMPLE.values() for setting in settings]
FILE_SETTINGS = set(_Sources.model_fields) - {"datadir"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    for name in _Sources.model_fields:
        monkeypatch.delenv(f"GROAT_{name.upper()}", raising=False)
    monkeypatch.setenv("GROAT_DATADIR", str(tmp_path))


def loaded(tmp_path: Path, text: str) -> Settings:
    (tmp_path / CONFIG_NAME).write_text(text)
    return load_settings({})


def test_the_sample_has_each_setting_once():
    assert sorted(setting.name for setting in SETTINGS) == sorted(FILE_SETTINGS)


def test_the_page_of_settings_has_the_same_ones():
    rows = re.findall(r"(?m)^\|[^|]+\|[^|]+\| *`?([a-z0-9_]*)`? *\|", _page())
    assert sorted(name for name in rows if name) == sorted(FILE_SETTINGS)


def _page() -> str:
    return (ROOT / "docs" / "settings.md").read_text().partition("## The data directory")[0]


def test_the_sample_sets_nothing(tmp_path):
    assert tomllib.loads(sample_config()) == {}
    without = load_settings({})
    assert loaded(tmp_path, sample_config()) == without.__class__(
        **{name: getattr(without, name) for name in Settings.__slots__ if name != "config_file"},
        config_file=tmp_path / CONFIG_NAME,
    )


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_each_line_of_the_sample_is_taken_and_a_default_is_the_default(tmp_path, setting):
    lines = [line for line in sample_config().splitlines() if line.startswith(f"#{setting.name} ")]
    assert len(lines) == 1
    address = script_address(KEY.script, MAIN.address_prefixes)
    set_ = loaded(tmp_path, lines[0][1:].replace("ADDRESS", address))
    (tmp_path / CONFIG_NAME).write_text("")
    assert (set_ == load_settings({})) is setting.is_default


def test_the_command_prints_it_and_the_lines_fit_a_terminal(capfd):
    with pytest.raises(SystemExit) as ended:
        COMMAND.main(["node", "--sample-config"], prog_name="groat")
    assert ended.value.code == 0
    assert capfd.readouterr().out == sample_config()
    wide = [line for line in sample_config().splitlines() if len(line) > 100]
    assert [line for line in wide if not line.startswith("#rpc_auth")] == []
