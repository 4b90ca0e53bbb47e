"""The systemd units: sound, hardened, and in agreement with what the commands do."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from chain.cli.commands import app as groat
from chain.service.descriptors import API_CONNECTIONS_MAX
from chain.settings import variable_names
from tests.packaging.places import PACKAGING, needs

UNITS = PACKAGING / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
EXPOSURE_MAX = "15"  # tenths, of systemd's 100: 1.5 is "OK", and an unhardened service has 96
COMPILING = {"groat.service", "groat-reader@.service"}  # run groat, which compiles its loops


def settings_of(unit: Path) -> list[tuple[str, str]]:
    """Return a unit's settings in order; a name may come several times."""
    lines = unit.read_text().splitlines()
    return [tuple(line.split("=", 1)) for line in lines if re.match(r"[A-Z]\w+=", line)]


@pytest.fixture
def installed(tmp_path):
    """The units with programs that are there."""
    for unit in (*SERVICES, UNITS / "groat-backup.timer"):
        text = unit.read_text()
        text = text.replace("/opt/groat/bin/groat-backup", "/bin/true")
        program = Path(sys.executable).with_name("groat")
        assert program.exists()
        (tmp_path / unit.name).write_text(text.replace("/opt/groat/bin/groat", str(program)))
    return tmp_path


@needs("systemd-analyze")
def test_systemd_finds_no_fault_in_the_units(installed):
    names = ["groat.service", "groat-reader@9101.service", "groat-backup.service"]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names, "groat-backup.timer"],
        cwd=installed,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs("systemd-analyze")
@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_service_is_hardened(installed, unit):
    threshold = f"--threshold={EXPOSURE_MAX}"
    done = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            "--no-pager",
            threshold,
            f"./{unit.name}",
        ],
        cwd=installed,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_only_services_that_compile_nothing_are_denied_executable_memory(unit):
    denied = ("MemoryDenyWriteExecute", "true") in settings_of(unit)
    assert denied == (unit.name not in COMPILING)


@pytest.mark.parametrize("name", sorted(COMPILING))
def test_a_service_may_open_as_many_files_as_the_node_wants(name):
    [limit] = [value for key, value in settings_of(UNITS / name) if key == "LimitNOFILE"]
    assert int(limit) >= 3100 > API_CONNECTIONS_MAX, "docs/settings.md: about 3,100"


@pytest.mark.parametrize("name", sorted(COMPILING))
def test_a_service_is_not_started_again_after_a_wrong_setting(name):
    found = settings_of(UNITS / name)
    assert {("Restart", "on-failure"), ("RestartPreventExitStatus", "2")} <= set(found)


@pytest.mark.parametrize("name", sorted(COMPILING))
def test_a_service_calls_a_command_with_flags_that_it_has(name):
    [start] = [value for key, value in settings_of(UNITS / name) if key == "ExecStart"]
    program, command, *words = start.split()
    assert program == "/opt/groat/bin/groat"
    flags = {flag for option in get_command(groat).commands[command].params for flag in option.opts}
    assert {word for word in words if word.startswith("--")} <= flags


def test_the_variables_of_the_file_of_settings_are_settings():
    text = (UNITS / "groat.default").read_text()
    named = re.findall(r"(?m)^#(GROAT_\w+)=", text)
    assert named
    assert set(named) <= set(variable_names().values())


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="no systemd-sysusers")
def test_systemd_can_make_the_user():
    done = subprocess.run(
        ["systemd-sysusers", "--dry-run", str(UNITS / "groat.sysusers")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
