"""Prometheus metrics, read from the node on request; and the health check."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from pydantic import BaseModel, Field

from chain.primitives.compact import difficulty
from chain.service.api.context import ApiContext
from chain.service.api.dependencies import Api
from chain.service.api.snapshot import open_snapshot
from chain.service.heartbeat import SILENT_S

GOSSIP_KINDS: Final = (  # every kind of trace in chain/gossip, and failed dials
    "address book reset",
    "anchors reset",
    "announcer ignored",
    "block refused",
    "blocktxn too late",
    "compact block",
    "compact block collided",
    "dial failed",
    "discouraged peers reset",
    "link closed",
    "link opened",
    "low-work headers",
    "misbehaved",
    "our clock is off",
    "question dropped",
    "seed answered",
    "seed did not answer",
)
OTHER_KIND: Final = "other"  # so that the number of time series is bounded

router = APIRouter(tags=["operation"])


class Health(BaseModel):
    """Whether the node answers from its ledger."""

    status: str
    height: int
    version: str | None = Field(description="of the snapshot, if it follows a database")
    node_age_s: float = Field(description="seconds since the node was last heard of")


class NodeCollector(Collector):
    """Collects a node's metrics."""

    def __init__(self, api: ApiContext) -> None:
        self._api = api

    def collect(self) -> Iterator[Metric]:
        """Yield the current value of every metric."""
        api = self._api
        labels = {"version": api.version, "network": api.params.name}
        yield InfoMetricFamily("groat_build", "Which node this is", labels)
        for name, text, value in _figures(api):
            yield GaugeMetricFamily(f"groat_{name}", text, value)
        by_direction = GaugeMetricFamily("groat_peers", "Connected peers", labels=["direction"])
        peers = api.peers.connection_counts()
        by_direction.add_metric(["inbound"], peers.inbound)
        by_direction.add_metric(["outbound"], peers.total - peers.inbound)
        yield by_direction
        yield _gossip_events(api.peers.counts)


def counted_by_kind(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of gossip events by kind; a kind's detail after a colon is left out."""
    totals = Counter(dict.fromkeys((*GOSSIP_KINDS, OTHER_KIND), 0))
    for name, count in counts.items():
        kind = name.partition(":")[0]
        totals[kind if kind in GOSSIP_KINDS else OTHER_KIND] += count
    return dict(totals)


def _gossip_events(counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(
        "groat_gossip_events", "Traces of the peer protocol, by kind", labels=["kind"]
    )
    for kind, total in counted_by_kind(counts).items():
        family.add_metric([kind], total)
    return family


def _figures(api: ApiContext) -> tuple[tuple[str, str, float], ...]:
    view = api.state.view
    return (
        ("height", "Height of the best chain", view.tip.height),
        ("headers", "Height of the best header", view.best_header.height),
        ("tip_time_seconds", "Time in the tip's header", view.tip.header.time),
        ("difficulty", "Difficulty of the tip", difficulty(view.tip.header.bits)),
        ("mempool_transactions", "Transactions that wait", view.pool.count),
        ("mempool_vbytes", "Virtual bytes that wait", view.pool.vsize),
        ("mempool_usage_bytes", "Estimated memory of what waits", view.pool.usage_bytes),
        ("mempool_fees_grains", "Fees of what waits", view.pool.fees),
        ("hashes_per_second", "Speed of this node's miner", api.miner.info().hashes_per_second),
        ("event_listeners", "Clients that listen for changes", api.events.count),
        ("start_time_seconds", "When this process started", api.started_at),
        ("node_start_time_seconds", "When the node started", api.host.node_started_at()),
        ("node_age_seconds", "Since the node was last heard of", api.host.node_age_s()),
        ("ledger_log_bytes", "Size of the ledger's write-ahead log", api.host.log_bytes()),
        ("sequence", "Of the database's version that is shown", view.sequence),
    )


_TEXT: Final = {200: {"content": {"text/plain": {}}, "description": "Prometheus' text format"}}


@router.get("/metrics", response_class=Response, responses=_TEXT)  # type: ignore[arg-type]
def metrics(api: Api) -> Response:
    """Return the node's metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(NodeCollector(api))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/health", responses={503: {"description": "It cannot, for now"}})
def health(api: Api) -> Health:
    """Return whether the node can read its ledger."""
    with open_snapshot(api) as snapshot:
        height, version = snapshot.ledger.tip_height, snapshot.version
    age_s = api.host.node_age_s()
    return Health(
        status="the node is silent" if age_s > SILENT_S else "ok",
        height=height,
        version=None if version is None else str(version),
        node_age_s=age_s,
    )
