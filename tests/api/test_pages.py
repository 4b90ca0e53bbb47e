"""The explorer's pages: they render, link, and show no script of others (H36)."""

import html
import re
from html.parser import HTMLParser
from urllib.parse import quote

import pytest

from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from chain.primitives.numbers import Amount, id_text
from chain.primitives.script import op_return, p2pkh_script, p2sh_script
from chain.primitives.transaction import TxOut
from chain.service.api.pages import text
from chain.service.api.pages.charts import RATE_BLOCKS, qr
from tests.api.harness import NOW, OTHER, PEER
from tests.builders import KEY, pay, spend

SCRIPT = b"<script>alert(1)</script>"


class Outline(HTMLParser):
    """Collects what a page links to and loads, and checks that tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        assert not any(name.startswith("on") or name == "style" for name in names), attrs
        if tag == "time":  # what it holds, as "2 minutes ago", is no moment for programs
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", names["datetime"])
        if tag in {"a", "form"}:
            self.links.append(names.get("href") or names["action"])
        if tag in {"script", "img", "link"}:
            self.loads.append(names.get("src") or names["href"])
        if tag == "script":
            self.scripts.append(names["src"])
        if tag not in {"meta", "link", "img", "input", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another tag"


def outline(html: str) -> Outline:
    found = Outline()
    found.feed(html)
    assert found.open == []
    assert all(load.startswith("/static/") for load in found.loads), found.loads
    assert set(found.scripts) <= {"/static/live.js"}
    return found


async def fill(node) -> dict[str, str]:
    """Make a chain with every kind of content; return the paths of all pages."""
    await node.grow(103)
    note = TxOut(Amount(0), op_return(SCRIPT))
    txs = []
    for height in (1, 2):
        point, coin = node.chain.coinbase_coin(height)
        txs.append(spend([(point, coin)], [pay(coin.value - 1000, OTHER), note]))
    confirmed, waiting = txs
    await node.mine([confirmed], fees=1000)
    await node.pool(waiting)
    lost = node.chain.fork(1).add(extra=b"lost")
    await node.connect(lost)
    node.peers.append(PEER)
    return {
        "home": "/",
        "genesis": "/block/0",
        "block": "/block/104",
        "block by id": f"/block/{id_text(node.chain.tip.id)}",
        "block that lost": f"/block/{id_text(lost.id)}",
        "confirmed": f"/tx/{id_text(confirmed.txid)}",
        "waiting": f"/tx/{id_text(waiting.txid)}",
        "coinbase": f"/tx/{id_text(node.chain.blocks[0].transactions[0].txid)}",
        "address": f"/address/{script_address(OTHER.script, REGTEST.address_prefixes)}",
        "miner": f"/address/{script_address(KEY.script, REGTEST.address_prefixes)}",
        "mempool": "/mempool",
        "blocks": "/blocks",
        "older blocks": "/blocks?start=54",
        "branches": "/branches",
        "peers": "/peers",
        "docs": "/docs",
    }


def test_every_page_renders_and_escapes(on_node):
    async def scenario(node):
        paths = await fill(node)
        shown = set()
        for name, path in paths.items():
            reply = await node.get(path)
            assert reply.status_code == 200, name
            assert reply.headers["content-type"] == "text/html; charset=utf-8"
            assert "<script>alert" not in reply.text, name
            if "&lt;script&gt;alert(1)&lt;/script&gt;" in reply.text:
                shown.add(name)
            outline(reply.text)
        assert shown == {"block", "block by id", "confirmed", "waiting", "address", "miner"}

    on_node(scenario)


def test_every_link_leads_somewhere(on_node):
    async def scenario(node):
        waiting, seen = list((await fill(node)).values()), set()
        while waiting and len(seen) < 150:
            path = waiting.pop()
            if path in seen or path.startswith(("/search", "/api/v1/events")):
                continue
            seen.add(path)
            reply = await node.get(path)
            assert reply.status_code == 200, path
            if reply.headers["content-type"].startswith("text/html"):
                waiting += outline(reply.text).links
        assert len(seen) >= 100

    on_node(scenario)


def test_pages_link_the_json_they_show(on_node):
    async def scenario(node):
        paths = await fill(node)
        for name, expected in {
            "home": "/api/v1/status",
            "block by id": f"/api{paths['block by id']}",
            "confirmed": f"/api{paths['confirmed']}",
            "address": f"/api{paths['address']}",
            "mempool": "/api/mempool",
            "peers": "/api/v1/peers",
            "branches": "/api/v1/branches",
            "docs": "/openapi.json",
        }.items():
            assert expected in outline((await node.get(paths[name])).text).links, name

    on_node(scenario)


def test_pages_say_what_matters(on_node):
    async def scenario(node):
        paths = await fill(node)
        said = {
            "home": ["104", "regtest", "Latest blocks", " vB"],
            "block that lost": ["not in the best chain"],
            "block": ["1 confirmation"],
            "confirmed": ["49.99999000", "1 confirmation", "0.00001000", "unspent"],
            "waiting": ["unconfirmed"],
            "coinbase": ["newly mined", "spent →"],
            "address": ["+49.99999000", "1 and 1 unconfirmed"],
            "mempool": ["1 transaction<", " vB", "<b>6.8 grain/vB</b>"],
            "peers": ["192.0.2.1:9444", "250 ms"],
            "docs": [
                "<code>last_seen</code>",
                '<code class="dim">?maxfeerate=</code>',
                "<code>getblock blockhash [verbosity]</code></td><td>Return a block: ",
                "curl --user",
            ],
        }
        for name, words in said.items():
            page = (await node.get(paths[name])).text
            for word in words:
                assert word in page, (name, word)

    on_node(scenario)


def test_what_a_lost_block_holds_is_not_called_unconfirmed(on_node):
    async def scenario(node):
        lost = await node.text((await fill(node))["block that lost"])
        assert "newly mined" in lost
        assert "unconfirmed" not in lost, "it does not wait for a block: it may be in another"

    on_node(scenario)


def test_the_page_of_blocks_leads_to_every_one(on_node):
    async def scenario(node):
        await node.grow(103)
        seen, path = [], "/blocks"
        while path:
            page = await node.text(path)
            seen += re.findall(r'<td><a href="/block/(\d+)">', page)
            found = re.search(r'<a href="([^"]+)" rel="next">', page)
            path = found and found[1]
        assert seen == [str(height) for height in range(103, -1, -1)]
        assert 'href="/blocks"' in await node.text("/")
        assert await node.text("/blocks?start=x") == await node.text("/blocks")

    on_node(scenario)


def test_a_block_has_one_height_and_one_id_and_no_other_path(on_node):
    async def scenario(node):
        await node.grow(1)
        tip = id_text(node.chain.tip.id)
        for path in ("00", "01", "+1", "1.0", "-0", tip[1:], tip + "0", "0" * 64):
            assert (await node.get(f"/block/{path}")).status_code == 404, path
        assert (await node.get("/block/1")).status_code == 200
        reply = await node.get("/search?q=001")
        assert reply.headers["location"] == "/block/1"

    on_node(scenario)


def test_home_shows_one_hash_rate_of_the_network(on_node):
    async def scenario(node):
        start = node.chain.tip.header.time + 1_000_000  # the genesis block is far back on regtest
        for height in range(RATE_BLOCKS + 2):
            await node.mine(time=start + 5 * height)
        home = await node.text("/")
        [tile] = re.findall(r"<b>([^<]+)</b><span>network</span>", home)
        [chart] = re.findall(r"Network hash rate <b>([^<]+)</b>", home)
        assert tile == chart

    on_node(scenario)


def test_page_lives_without_javascript(on_node):
    async def scenario(node):
        home = await node.text("/")
        assert '<noscript><meta http-equiv="refresh"' in home
        assert "data-live" in home

    on_node(scenario)


def test_home_says_that_it_waits_for_peers_and_not_that_it_is_complete(on_node):
    async def scenario(node):
        assert "waiting for peers" in await node.text("/")
        assert "Waiting for peers: block 0" in await node.text("/peers")
        node.peers.append(PEER)
        assert "waiting for peers" not in await node.text("/")
        node.peers.clear()
        await node.grow(1)
        assert "100.0 %" in await node.text("/")  # regtest needs nobody
        assert "Waiting" not in await node.text("/peers")

    on_node(scenario)


def test_search_for_nothing_leads_home(on_node):
    async def scenario(node):
        for query in ("/search", "/search?q=", "/search?q=%20%09"):
            reply = await node.get(query)
            assert (reply.status_code, reply.headers["location"]) == (303, "/"), query

    on_node(scenario)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("999", "Nothing here has this height or id."),
        ("9" * 90, "Nothing here has this height or id."),
        ("00" * 32, "Nothing here has this height or id."),
        (
            "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt081",
            "Nothing here has this height or id, and it is not an address: ",
        ),
        ('"><b>', "Nothing here has this height or id, and it is not an address"),
    ],
)
def test_a_vain_search_keeps_what_was_typed_and_says_what_is_wrong(on_node, query, sentence):
    async def scenario(node):
        reply = await node.get(f"/search?q={quote(query)}")
        assert reply.status_code == 404
        assert f"<p>{sentence}" in reply.text
        assert f'name="q" value="{html.escape(query)}"'.replace("&quot;", "&#34;") in reply.text

    on_node(scenario)


def test_search_finds_heights_blocks_transactions_and_addresses(on_node):
    async def scenario(node):
        await node.grow(2)
        block = node.chain.blocks[0]
        block_id, txid = id_text(block.id), id_text(block.transactions[0].txid)
        address = script_address(KEY.script, REGTEST.address_prefixes)
        for query, target in {
            "1": "/block/1",
            " 1 ": "/block/1",
            block_id: f"/block/{block_id}",
            block_id.upper(): f"/block/{block_id.upper()}",
            txid: f"/tx/{txid}",
            address: f"/address/{address}",
            f"bitcoin:{address}?amount=1.5&label={'x' * 200}": f"/address/{address}",
            f"GROAT:{address.upper()}": f"/address/{address.upper()}",
        }.items():
            reply = await node.get("/search", params={"q": query})
            assert (reply.status_code, reply.headers["location"]) == (303, target)
            assert (await node.get(target)).status_code == 200
        wrong_requests = ("bitcoin:", f"bitcoin:?{address}", f"litecoin:{address}", "bitcoin:3")
        nothing = ("3", "99999999999", "nonsense", "00" * 32, "<script>", "//evil.example")
        for query in (*nothing, *wrong_requests):
            reply = await node.get("/search", params={"q": query})
            assert reply.status_code == 404, query
            assert "location" not in reply.headers

    on_node(scenario)


@pytest.mark.parametrize("script", [p2pkh_script(bytes(20)), p2sh_script(bytes(20))])
def test_an_address_in_base58_has_its_page_and_its_history(on_node, script):
    async def scenario(node):
        await node.grow(1, script=script)
        address = script_address(script, REGTEST.address_prefixes)
        reply = await node.get("/search", params={"q": address})
        assert reply.headers["location"] == f"/address/{address}"
        assert address in await node.text(f"/address/{address}")
        [tx] = await node.json(f"/api/address/{address}/txs")
        assert tx["vout"][0]["scriptpubkey_address"] == address
        assert tx["vout"][0]["scriptpubkey_type"] == ("p2pkh" if script[0] == 0x76 else "p2sh")
        path, side = qr(address)
        assert path in await node.text(f"/address/{address}"), side

    on_node(scenario)


def test_what_is_not_there_is_a_page_too(on_node):
    async def scenario(node):
        for path in (
            "/block/1", "/block/-1", "/block/x", "/block/" + "9" * 5000, "/tx/1",
            "/tx/" + "0" * 64, "/address/x", "/address/%3Cscript%3E", "/nothing",
        ):  # fmt: skip
            reply = await node.get(path)
            assert reply.status_code == 404, path
            assert "<h1>Not found</h1>" in reply.text
            outline(reply.text)

    on_node(scenario)


def test_pages_of_a_block_turn(on_node):
    async def scenario(node):
        await node.grow(130)
        txs = []
        for height in range(1, 31):
            point, coin = node.chain.coinbase_coin(height)
            txs.append(spend([(point, coin)], [pay(coin.value, OTHER)]))
        await node.mine(txs)
        first = await node.text("/block/131")
        assert "Transactions 1 to 25 of 31" in first
        assert "?start=25" in first
        second = await node.text("/block/131?start=25")
        assert "Transactions 26 to 31 of 31" in second
        assert "?start=0" in second
        for start in ("x", "-1", "9" * 50, "1000"):
            assert (await node.get(f"/block/131?start={start}")).status_code == 200

    on_node(scenario)


def test_pages_of_an_address_turn(on_node):
    async def scenario(node):
        await node.grow(30)
        path = f"/address/{script_address(KEY.script, REGTEST.address_prefixes)}"
        first = await node.text(path)
        [after] = re.findall(r"\?after=([0-9a-f]{64})", first)
        second = await node.text(f"{path}?after={after}")
        assert (first.count('class="card"'), second.count('class="card"')) == (25, 5)
        for odd in ("0" * 64, "x"):
            assert (await node.get(f"{path}?after={odd}")).status_code == 200

    on_node(scenario)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"hello", "hello"),
        ("grüße €".encode(), "grüße €"),
        (b"<script>", "<script>"),
        (b"\x1b[31mred", None),
        ("\u202egnp.exe".encode(), None),
        ("\u200bhidden".encode(), None),
        (b"two\nlines", None),
        (b"\xff\xfe", None),
        (b"", None),
        (b"x" * 75, "x" * 75),
    ],
)
def test_h36_only_printable_text_is_shown_as_text(data, shown):
    assert text.message(op_return(data)) == shown
    assert text.message(KEY.script) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-121, "in the future"),
        (-120, "just now"),
        (-1, "just now"),
        (0, "just now"),
        (1, "1 second ago"),
        (59, "59 seconds ago"),
        (60, "1 minute ago"),
        (3599, "59 minutes ago"),
        (3600, "1 hour ago"),
        (86_399, "23 hours ago"),
        (172_800, "2 days ago"),
    ],
)
def test_ages_in_words(seconds, words):
    assert text.age(seconds) == words


def test_numbers_in_words():
    assert text.coins(-1) == "-0.00000001"
    assert text.amount(123_456_700_000_000) == "1,234,567.00000000\u00a0GROAT"
    assert text.signed_amount(5) == "+0.00000005\u00a0GROAT"
    assert [text.duration(s) for s in (0, 59, 60, 3599, 3600)] == [
        "0 s", "59 s", "1.0 min", "60.0 min", "1.0 h",
    ]  # fmt: skip
    assert text.utc(NOW) == "2027-01-15 08:00:00 UTC"
    assert [text.size(n) for n in (999, 1000, 1_500_000)] == ["999 B", "1.0 kB", "1.5 MB"]
    assert [text.rate(n) for n in (0, 0.00312, 1, 999, 42_000_000, 1e21)] == [
        "none", "0.0031 H/s", "1.0 H/s", "999.0 H/s", "42.0 MH/s", "1000.0 EH/s",
    ]  # fmt: skip
    assert text.code("`<b>` & `") == "<code>&lt;b&gt;</code> &amp; `"
    assert text.short("ab" * 32) == "ababababab…ababababab"
