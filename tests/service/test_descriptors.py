"""The listeners' limits fit into what the system lets the process open (F7)."""

import resource

import pytest

from chain.consensus.params import MAIN, REGTEST
from chain.gossip.config import config_for
from chain.service.descriptors import (
    API_CONNECTIONS_MAX,
    DescriptorError,
    raise_limit,
    reserved,
    share,
    wanted,
)
from chain.service.http.census import CONNECTIONS_MAX
from chain.service.peers.acceptor import HANDSHAKES_MAX, guard_limits

CONFIG = config_for(MAIN, agent="groat:test")


def test_with_enough_descriptors_every_limit_is_what_it_should_be():
    enough = wanted(CONFIG, 0)
    for limit in (enough, enough + 100_000):
        shared = share(limit, CONFIG, 0)
        assert shared.peer_connections_max == guard_limits(CONFIG).connections_max == 1600
        assert shared.api_connections_max == API_CONNECTIONS_MAX
        assert shared.inbound_max == CONFIG.inbound_max
    assert share(enough - 1, CONFIG, 0) != share(enough, CONFIG, 0)


@pytest.mark.parametrize("config", [CONFIG, config_for(REGTEST, agent="x")])
@pytest.mark.parametrize("peers", [0, 8, 40])
def test_whatever_the_limit_the_shares_and_the_reserve_fit_in(config, peers):
    least = reserved(config, peers) + 64
    for limit in (least, least + 1, 1024, 2000, 4096):
        shared = share(limit, config, peers)
        total = shared.peer_connections_max + shared.api_connections_max
        assert total + reserved(config, peers) <= limit
        links = shared.inbound_max * CONNECTIONS_MAX
        assert links + min(HANDSHAKES_MAX, links // 2) <= shared.peer_connections_max
        assert shared.inbound_max >= 1
    with pytest.raises(DescriptorError, match=rf"only {least - 1} .* needs {least}$"):
        share(least - 1, config, peers)


def test_a_thousand_descriptors_are_shared_and_said_in_one_line():
    line = str(share(1024, CONFIG, 0))
    assert line == (
        "1024 files may be open: at most 406 connections from peers (51 links) and 306 to the API"
    )


@pytest.fixture
def limits():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_limit_is_raised_to_what_is_needed_but_never_lowered(limits):
    hard = limits[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (600, hard))
    assert raise_limit(599) == 600
    assert raise_limit(601) == 601
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (601, hard)
    if hard != resource.RLIM_INFINITY:
        assert raise_limit(hard + 1) == hard
