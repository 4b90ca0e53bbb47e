"""The address of a node: a host alone is enough where Esplora is at its root or its /api."""

import pytest

from chain.primitives.numbers import GRAINS_PER_GROAT


@pytest.fixture
def bare(cli, rich):
    cli.node = cli.node.removesuffix("/api")
    return cli


def test_a_host_alone_finds_the_api(bare, stub):
    stub.lacks = {"root"}
    for node in (bare.node, f"{bare.node}/"):
        assert bare.json("balance", "--node", node)["total"] == 50 * GRAINS_PER_GROAT
    paths = {path for _, path, _ in stub.requests if not path.startswith("/api/")}
    assert paths == {"/block-height/0"}, "one question tells"


def test_a_host_whose_root_is_esplora_needs_no_api(bare, stub):
    bare.run("balance")
    assert not [path for _, path, _ in stub.requests if path.startswith("/api")]


@pytest.mark.parametrize("given", ["", "/api"])
def test_the_last_view_of_a_host_alone_is_that_of_its_api(bare, stub, given):
    stub.lacks = {"root"}
    bare.json("balance", "--node", f"{bare.node}/api")
    stub.is_away = True
    found = bare.json("balance", "--node", f"{bare.node}{given}")
    assert (found["total"], found["as_of"]["height"]) == (50 * GRAINS_PER_GROAT, 100)


def test_a_host_without_esplora_is_one_short_line_that_names_both_places(bare, stub):
    stub.lacks = {"root"}
    stub.override["/api/block-height/0"] = (404, b"  <html>" + b"x" * 1000)
    error = bare.error("balance", code=3)
    assert error.startswith(f"no Esplora server at {bare.node} or {bare.node}/api: ")
    assert error.endswith("a web page")


@pytest.mark.parametrize("given", ["/api?key=1", "/api#part", "?"])
def test_a_url_with_more_than_a_path_is_refused(bare, given):
    error = bare.error("balance", "--node", f"{bare.node}{given}", code=2)
    assert error.endswith("is not the address of a node: write it as http://HOST:PORT/api")


def test_another_path_is_taken_as_it_is(bare, stub):
    stub.lacks = {"root"}
    error = bare.error("balance", "--node", f"{bare.node}/v1", code=3)
    assert f"did you mean {bare.node}/v1/api?" in error
    assert "<p>" not in error


def test_a_node_of_another_network_is_named_at_a_host_alone_too(bare, stub):
    stub.lacks = {"root"}
    bare.network = "devnet"
    bare.make()
    assert "not of network devnet" in bare.error("balance", code=4)
