"""The container file, read: what it needs is there, and it runs as a user with one volume.

Built and run by hand: docs/operations/service.md says with what.
"""

import re
import shlex
import tomllib

import pytest
from typer.main import get_command

from chain.cli.commands import app as groat
from chain.network_file import PORTS
from chain.settings import variable_names
from tests.packaging.places import PACKAGING, ROOT

FILE = PACKAGING / "container" / "Containerfile"
KNOWN = {
    *("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN"),
    *("STOPSIGNAL", "USER", "VOLUME"),
}


def stages_of(text: str) -> list[list[tuple[str, str]]]:
    """Return the instructions of each stage; those before the first FROM are a stage."""
    stages: list[list[tuple[str, str]]] = [[]]
    lines = re.sub(r"(?m)^#.*\n", "", text).replace("\\\n", " ").splitlines()
    for line in filter(str.strip, lines):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, rest.strip()))
    return stages


@pytest.fixture(scope="module")
def stages():
    return stages_of(FILE.read_text())


def values(stage, name):
    return [rest for key, rest in stage if key == name]


def test_the_container_file_has_only_instructions_that_exist(stages):
    assert len(stages) == 3
    assert {name for stage in stages for name, _ in stage} == KNOWN


def test_the_last_stage_runs_as_a_user_and_keeps_its_data_in_one_volume(stages):
    last = stages[-1]
    [user] = values(last, "USER")
    assert all(int(part) > 0 for part in user.split(":")), "not root, and numbers for runtimes"
    [volume] = values(last, "VOLUME")
    variables = dict(
        word.split("=", 1) for text in values(last, "ENV") for word in shlex.split(text)
    )
    assert variables["GROAT_DATADIR"] == volume
    assert f"-o {user.split(':')[0]}" in " ".join(values(last, "RUN"))
    names = [name for name in variables if name.startswith("GROAT_")]
    assert set(names) <= set(variable_names().values())
    assert variables["GROAT_API"] == f"0.0.0.0:{PORTS['main'].api}"
    assert values(last, "EXPOSE") == [f"{PORTS['main'].p2p} {PORTS['main'].api}"]


def test_the_container_calls_commands_that_exist(stages):
    last = stages[-1]
    commands = get_command(groat).commands
    assert values(last, "ENTRYPOINT") == ['["groat"]']
    [command] = values(last, "CMD")
    [check] = values(last, "HEALTHCHECK")
    assert command == '["node"]'
    assert check.split("CMD ")[1] == '["groat", "status"]'
    assert {"node", "status"} <= set(commands)


def test_the_image_is_built_from_everything_that_the_wheel_is_made_of(stages):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    needed |= {*wheel["packages"], *wheel["force-include"], *wheel["shared-data"]}
    needed.add(".gitignore")  # by it hatchling leaves out __pycache__ and the like
    copied = {source for line in values(stages[1], "COPY") for source in shlex.split(line)[:-1]}
    assert {name.split("/")[0] for name in needed} == copied, "and nothing else"
    assert [source for source in copied if not (ROOT / source).exists()] == []


def test_the_images_are_named_with_a_version_and_nothing_is_fetched_by_add(stages):
    bases = [value for value in values(stages[0], "ARG") if value.startswith("BASE=")]
    assert len(bases) == 1
    assert re.search(r":\d+\.\d+-", bases[0])
    assert not bases[0].endswith(":latest")
    assert [values(stage, "FROM")[0].split()[0] for stage in stages[1:]] == ["${BASE}", "${BASE}"]
