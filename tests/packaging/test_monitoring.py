"""Prometheus' configuration, the alerts and the dashboard, against what a node really exports."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from chain.consensus.params import REGTEST
from chain.network_file import PORTS
from chain.primitives.address import script_address
from tests.api.harness import running
from tests.builders import KEY
from tests.end_to_end.processes import PLAIN, NodeProcess, wait_until
from tests.end_to_end.test_serve import ServeProcess
from tests.packaging.places import PACKAGING, free_port, needs
from tests.patience import PATIENCE_S

CONFIG = PACKAGING / "prometheus" / "prometheus.yml"
RULES = PACKAGING / "prometheus" / "groat.rules.yml"
DASHBOARD = PACKAGING / "grafana" / "groat.json"
ADDRESS = script_address(KEY.script, REGTEST.address_prefixes)
# The words of PromQL in the queries; whatever else stands outside of braces is a metric.
FUNCTIONS = {"changes", "delta", "increase", "max", "rate", "sum", "time"}
WORDS = {"by", "without", "on", "group_right"}
SAMPLE = re.compile(r"\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)(=~|=)"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|without|on|group_right) \(([^)]*)\)")
TARGET_LABELS = {"job", "instance", "node"}  # Prometheus' own, and that of prometheus.yml


def alerts() -> list[dict]:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    return group["rules"]


def panels() -> list[dict]:
    return json.loads(DASHBOARD.read_text())["panels"]


def panel_queries() -> dict[str, str]:
    """Return each query of the dashboard with all nodes chosen."""
    return {
        f"{panel['title']} {target['refId']}": target["expr"].replace("$node", ".*")
        for panel in panels()
        for target in panel["targets"]
    }


def alert_queries() -> dict[str, str]:
    return {rule["alert"]: rule["expr"] for rule in alerts()}


QUERIES = panel_queries() | alert_queries()


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> dict[str, list[dict[str, str]]]:
    """What a node exports: the labels of each metric's samples."""

    async def read() -> str:
        async with running(tmp_path_factory.mktemp("node")) as node:
            return await node.text("/metrics")

    found: dict[str, list[dict[str, str]]] = {}
    for family in text_string_to_metric_families(asyncio.run(read())):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def metrics_of(query: str) -> set[str]:
    """Return the metrics that a query names."""
    bare = GROUPING.sub("", SAMPLE.sub("", query))
    bare = re.sub(r"\[\d+[smhd]\]|\b\d[\d.e]*", "", bare)
    return set(re.findall(r"[a-zA-Z_:]\w*", bare)) - FUNCTIONS - WORDS


def test_the_reading_of_queries_finds_every_name():
    query = (
        'sum by (kind) (rate(groat_x_total{kind=~"a b|c", node="n"}[5m])) / 1e8 - time() > nosuch'
    )
    assert metrics_of(query) == {"groat_x_total", "nosuch"}


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_names_metrics_labels_and_values_that_a_node_exports(name, exported):
    query = QUERIES[name]
    metrics = metrics_of(query)
    assert metrics, query
    assert metrics <= exported.keys() | {"up"}
    labels = {
        label for one in metrics & exported.keys() for each in exported[one] for label in each
    }
    for label, how, value in MATCHER.findall(query):
        assert label in labels | TARGET_LABELS
        there = {each.get(label) for one in metrics & exported.keys() for each in exported[one]}
        if label in labels:
            wanted = value.split("|") if how == "=~" else [value]
            assert set(wanted) <= there, query
    grouped = {label for part in GROUPING.findall(query) for label in re.findall(r"\w+", part)}
    assert grouped <= labels | TARGET_LABELS


def test_every_metric_of_a_node_is_on_the_dashboard(exported):
    shown = {metric for query in panel_queries().values() for metric in metrics_of(query)}
    assert exported.keys() - shown == {"groat_start_time_seconds"}, "of whichever process answers"


def test_each_alert_says_how_bad_it_is_and_what_to_do():
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names) >= 10
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert set(rule["annotations"]) == {"summary", "action"}


def test_prometheus_asks_the_api_where_it_is_by_default():
    [job] = yaml.safe_load(CONFIG.read_text())["scrape_configs"]
    [scraped] = job["static_configs"]
    assert scraped["targets"] == [f"127.0.0.1:{PORTS['main'].api}"]
    assert scraped["labels"] == {"node": "main"}
    assert all('job="groat"' in query for query in QUERIES.values() if query.startswith("up"))


def test_the_panels_of_the_dashboard_do_not_overlap_and_have_a_source():
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        columns, rows = range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])
        cells = {(x, y) for x in columns for y in rows}
        assert not cells & taken, panel["title"]
        taken |= cells
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${source}"}
    assert len({panel["id"] for panel in panels()}) == len(panels())
    variables = {v["name"] for v in json.loads(DASHBOARD.read_text())["templating"]["list"]}
    assert variables == set(re.findall(r"\$\{?(\w+)", DASHBOARD.read_text())) - {"__all"}


@dataclass(frozen=True)
class Case:
    """A series with which an alert fires at a time, and one with which it does not."""

    series: str
    bad: str
    good: str
    at: str = "59m"
    beside: Mapping[str, str] = field(default_factory=dict)  # further series, in both

    def labels(self) -> dict[str, str]:
        return dict(re.findall(r'(\w+)="([^"]*)"', self.series))


def events(kind: str) -> str:
    return f'groat_gossip_events_total{{instance="i",kind="{kind}"}}'


NO_INBOUND = 'groat_peers{instance="i",direction="inbound"}'
CASES = {
    "GroatDown": Case('up{job="groat",instance="i"}', "1 0x60", "1x60"),
    "GroatNodeSilent": Case('groat_node_age_seconds{instance="i"}', "31x60", "30x60"),
    "GroatRestarts": Case(
        'groat_node_start_time_seconds{instance="i"}', "1x50 2 3 4 5x9", "1x50 2 3 4x9"
    ),
    "GroatNoPeers": Case('groat_peers{instance="i"}', "0x60", "0x40 1x20"),
    "GroatNoInboundPeers": Case(NO_INBOUND, "0x400", "0x300 1x100", at="390m"),
    "GroatBehind": Case(
        'groat_headers{instance="i"}', "4x60", "3x60", beside={'groat_height{instance="i"}': "0x60"}
    ),
    "GroatTipOld": Case('groat_tip_time_seconds{instance="i"}', "0x80", "0x10 3600x70", at="75m"),
    "GroatClock": Case(events("our clock is off"), "0x30 1x30", "1x60"),
    "GroatBlocksRefused": Case(events("block refused"), "0x30 7x30", "0x30 3x30"),
    "GroatMisbehaviour": Case(events("misbehaved"), "0x30 60x30", "0x30 40x30"),
    "GroatLedgerLogLarge": Case(
        'groat_ledger_log_bytes{instance="i"}', "500000001x60", "500000000x60"
    ),
    "GroatReaderBehind": Case(
        'groat_height{instance="i",node="main"}',
        "7x60",
        "8x60",
        beside={'groat_height{instance="other",node="main"}': "10x60"},
    ),
    "GroatListenersFull": Case('groat_event_listeners{instance="i"}', "201x60", "200x60"),
}


def test_every_alert_has_a_case():
    assert set(CASES) == set(alert_queries())


@needs("promtool")
@pytest.mark.slow
def test_each_alert_fires_at_its_fault_and_not_below_its_threshold(tmp_path):
    rules = yaml.safe_load(RULES.read_text())
    for rule in rules["groups"][0]["rules"]:
        del rule["annotations"]  # the texts are not compared
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    tests = []
    for name, case in CASES.items():
        [severity] = [rule["labels"] for rule in alerts() if rule["alert"] == name]
        fired = [{"exp_labels": case.labels() | severity}]
        for values, expected in ((case.bad, fired), (case.good, [])):
            series = {case.series: values} | case.beside
            wanted = {"eval_time": case.at, "alertname": name, "exp_alerts": expected}
            inputs = [{"series": s, "values": v} for s, v in series.items()]
            tests.append(
                {
                    "name": f"{name} {values}",
                    "interval": "1m",
                    "input_series": inputs,
                    "alert_rule_test": [wanted],
                }
            )
    whole = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(whole))
    command = ["promtool", "test", "rules", "test.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs("promtool")
def test_promtool_finds_no_fault_in_configuration_and_rules():
    done = subprocess.run(
        ["promtool", "check", "config", str(CONFIG)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(alerts())} rules found" in done.stdout


@contextmanager
def prometheus(folder, targets):
    """Run Prometheus with the configuration of packaging/, asking `targets` each second."""
    config = yaml.safe_load(CONFIG.read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(RULES)]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = targets
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    url = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", "--log.level=warn"]
    command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={url}"]
    with (folder / "errors").open("w") as errors, subprocess.Popen(command, stderr=errors) as it:
        try:
            yield f"http://{url}"
        finally:
            it.terminate()


def ask(url: str, path: str, **parameters) -> dict:
    """Return the data of a reply of Prometheus' API; {} while it does not answer yet."""
    try:
        reply = httpx.get(url + path, params=parameters, **PLAIN, timeout=PATIENCE_S)
    except httpx.TransportError:
        return {}
    body = reply.json() if reply.status_code in {200, 400, 422} else {}
    assert body.get("status") != "error", body
    return body.get("data", {})


@needs("prometheus")
@pytest.mark.net
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Debian's prometheus")
def test_prometheus_runs_every_query_on_a_node_and_a_reader(tmp_path):
    node = NodeProcess(tmp_path / "node")
    reader = ServeProcess(tmp_path / "node")
    (tmp_path / "prometheus").mkdir()
    try:
        node.start()
        node.mine(3, ADDRESS)
        reader.start().ready()
        targets = [api.removeprefix("http://") for api in (node.api, reader.api)]
        with prometheus(tmp_path / "prometheus", targets) as url:
            counted = "min(count_over_time(groat_sequence[1m])) and count(up == 1) == 2"
            wait_until(
                lambda: any(
                    float(one["value"][1]) >= 4
                    for one in ask(url, "/api/v1/query", query=counted).get("result", [])
                ),
                "four readings of both",
                60,
            )
            for name, query in QUERIES.items():
                shown = re.split(r" (?:==|>) [\d.e]+$", query)[0]  # an alert's, below its threshold
                assert ask(url, "/api/v1/query", query=shown)["result"], (name, shown)
                ask(url, "/api/v1/query", query=query)
            wait_until(lambda: state_of_rules(url).get("GroatNoPeers") == "pending", "no peers", 30)
            quiet = state_of_rules(url)
            assert set(quiet) == set(alert_queries())
            assert quiet["GroatDown"] == quiet["GroatBehind"] == "inactive"
            reader.end()
            wait_until(lambda: state_of_rules(url)["GroatDown"] == "pending", "it is down", 30)
    finally:
        if reader.process is not None and reader.process.poll() is None:
            reader.process.kill()
        node.stop()


def state_of_rules(url: str) -> dict[str, str]:
    """Return the state of each alert, all of which Prometheus must be able to evaluate."""
    groups = ask(url, "/api/v1/rules").get("groups", [])
    rules = [rule for group in groups for rule in group["rules"]]
    assert all(rule["health"] in {"ok", "unknown"} for rule in rules), rules
    time.sleep(0.2)  # asked again and again
    return {rule["name"]: rule["state"] for rule in rules}
