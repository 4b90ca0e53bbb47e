"""Debug categories: off by default, named as in Bitcoin Core, and without cost while off."""

import logging
from collections import deque

import pytest

from chain.debug_categories import CATEGORIES, UnknownCategoryError, expand_categories
from chain.gossip.events import Closed, LinkId
from chain.gossip.wire.messages import Ping
from chain.service.debug_log import active, debug_logger, set_active
from chain.service.node_log import DEBUG_LINES_PER_MINUTE_MAX, LINES_PER_MINUTE_MAX, NodeLog
from chain.service.peers.net_lines import log_event, log_sent
from chain.settings import SettingsError, load_settings
from tests.debug_lines import lines

pytestmark = pytest.mark.usefixtures("debug_log_off")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ()),
        (["net"], ("net",)),
        (["net", "mempool", "net"], ("mempool", "net")),
        (["all"], CATEGORIES),
        (["1"], CATEGORIES),
        (["net", "none"], ()),
        (["net", "0", "rpc"], ("rpc",)),
    ],
)
def test_names_stand_for_categories(names, expected):
    assert expand_categories(names) == frozenset(expected)
    assert load_settings({"debug": names}).debug == frozenset(expected)


@pytest.mark.parametrize("name", ["NET", "net ", "x" * 100, "2", "a\nb", "\x1b[2J"])
def test_an_unknown_category_is_named_in_one_line(name):
    with pytest.raises(UnknownCategoryError, match=r"unknown logging category [ -~]{0,64}\Z"):
        expand_categories([name])
    with pytest.raises(
        SettingsError,
        match=r"setting debug: .*http, .*, all, none(; did you mean net\?)? \(from --debug\)$",
    ):
        load_settings({"debug": [name]})


def test_categories_come_from_the_environment_and_the_file(tmp_path, monkeypatch):
    (tmp_path / "groat.toml").write_text('debug = ["rpc", "http"]\n')
    assert load_settings({"datadir": tmp_path}).debug == {"rpc", "http"}
    monkeypatch.setenv("GROAT_DEBUG", "net,mempool")
    assert load_settings({"datadir": tmp_path}).debug == {"net", "mempool"}
    assert load_settings({"datadir": tmp_path, "debug": ["mining"]}).debug == {"mining"}


def test_what_is_set_active_is_on_and_the_rest_off():
    assert active() == frozenset()
    set_active(CATEGORIES)
    assert active() == frozenset(CATEGORIES)
    set_active({"net"})
    assert active() == {"net"}


@pytest.mark.parametrize("is_active", [False, True])
def test_links_and_messages_are_logged_only_while_net_is_on(caplog, is_active):
    set_active({"net"} if is_active else ())
    log_sent(LinkId(3), Ping(1), 17)
    log_event(Closed(LinkId(3), "forged\nline"))
    expected = ["link 3: sending Ping, 17 bytes", "link 3 ended: forged line"]
    assert lines(caplog, "net") == (expected if is_active else [])


def test_a_debug_line_has_a_larger_limit_than_others():
    class Kept(logging.Handler):
        def __init__(self) -> None:
            super().__init__()
            self.problem = None
            self.levels: deque[int] = deque()

        def emit(self, record: logging.LogRecord) -> None:
            self.levels.append(record.levelno)

    kept = Kept()
    logger = logging.Logger("test", logging.DEBUG)
    logger.addHandler(NodeLog(kept, clock=lambda: 0.0))  # type: ignore[arg-type]
    for _ in range(DEBUG_LINES_PER_MINUTE_MAX + 1):
        logger.debug("often")
    for _ in range(LINES_PER_MINUTE_MAX + 1):
        logger.info("seldom")
    assert kept.levels.count(logging.DEBUG) == DEBUG_LINES_PER_MINUTE_MAX
    assert kept.levels.count(logging.INFO) == LINES_PER_MINUTE_MAX
    assert not debug_logger("net").handlers, "lines go where all others go"


def test_an_empty_category_is_refused():
    with pytest.raises(UnknownCategoryError):
        expand_categories([""])
    with pytest.raises(SettingsError, match=r"^setting debug: is empty: [^\n]+$"):
        load_settings({"debug": [""]})
