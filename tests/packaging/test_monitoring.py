"""Prometheus' configuration, the alerts and the dashboard, against what a node really exports."""

import asyncio
import json
import re
import subprocess
import sys
import time
from contextlib import contextmanager

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

CONFIG = PACKAGING / "prometheus" / "prometheus.yml"
RULES = PACKAGING / "prometheus" / "groat.rules.yml"
DASHBOARD = PACKAGING / "grafana" / "groat.json"
ADDRESS = script_address(KEY.script, REGTEST.address_prefixes)
# The words of PromQL in the queries; whatever else is not a label is a metric.
FUNCTIONS = {"changes", "delta", "increase", "max", "rate", "sum", "time"}
WORDS = {"by", "without", "on", "group_right"}
SAMPLE = re.compile(r"\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)(=~|=)"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|without|on|group_right) \(([^)]*)\)")
TARGET_LABELS = {"job", "instance", "node"}  # Prometheus' own, and that of prometheus.yml
NEVER_HERE = ("up{", "up ")


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


def test_every_metric_of_the_node_is_on_the_dashboard_or_the_process_ones(exported):
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


# For each alert, a series that sets it off within an hour, and one that does not.
CASES = {
    "GroatDown": ('up{job="groat",instance="i"}', "1 0x60", "1x60"),
    "GroatNodeSilent": ('groat_node_age_seconds{instance="i"}', "0+60x60", "1x60"),
    "GroatRestarts": ('groat_node_start_time_seconds{instance="i"}', "0+600x60", "7x60"),
    "GroatNoPeers": ('groat_peers{instance="i",direction="inbound"}', "0x60", "1x60"),
    "GroatNoInboundPeers": (
        'groat_peers{instance="i",direction="inbound"}',
        "0x400",
        "0x300 1x100",
    ),
    "GroatBehind": ('groat_headers{instance="i"}', "9x60", "3x60"),
    "GroatTipOld": ('groat_tip_time_seconds{instance="i"}', "0x100", "0+60x100"),
    "GroatClock": (
        'groat_gossip_events_total{instance="i",kind="our clock is off"}',
        "0x30 1x30",
        "1x60",
    ),
    "GroatBlocksRefused": (
        'groat_gossip_events_total{instance="i",kind="block refused"}',
        "0+1x60",
        "0x50 5x10",
    ),
    "GroatMisbehaviour": (
        'groat_gossip_events_total{instance="i",kind="misbehaved"}',
        "0+2x60",
        "0x50 50x10",
    ),
    "GroatLedgerLogLarge": ('groat_ledger_log_bytes{instance="i"}', "600000000x60", "96000000x60"),
    "GroatReaderBehind": ('groat_height{instance="i",node="main"}', "7x60", "8x60"),
    "GroatListenersFull": ('groat_event_listeners{instance="i"}', "201x60", "200x60"),
}
BESIDE = {  # further series of a case, the same in both
    "GroatBehind": {'groat_height{instance="i"}': "0x60"},
    "GroatReaderBehind": {'groat_height{instance="other",node="main"}': "10x60"},
}


def test_every_alert_has_a_case():
    assert set(CASES) == set(alert_queries())


@needs("promtool")
@pytest.mark.parametrize("name", CASES)
def test_an_alert_is_set_off_by_its_fault_and_not_below_its_threshold(name, tmp_path):
    series, bad, good = CASES[name]
    at = "390m" if name == "GroatNoInboundPeers" else "65m" if name == "GroatTipOld" else "59m"
    if name == "GroatTipOld":
        at = "75m"
    rule = next(rule for rule in alerts() if rule["alert"] == name)
    bare = {"alert": name, "expr": rule["expr"], "labels": rule["labels"]}
    bare |= {"for": rule["for"]} if "for" in rule else {}
    bare_rules = {"groups": [{"name": "groat", "rules": [bare]}]}  # the texts are not compared
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(bare_rules))
    tests = []
    for values, is_bad in ((bad, True), (good, False)):
        inputs = {series: values} | BESIDE.get(name, {})
        labels = dict(MATCHER_LABELS.findall(series)) | rule["labels"]
        if name == "GroatNoPeers":
            del labels["direction"]
        expected = [{"exp_labels": labels}] if is_bad else []
        tests.append(
            {
                "interval": "1m",
                "input_series": [{"series": s, "values": v} for s, v in inputs.items()],
                "alert_rule_test": [{"eval_time": at, "alertname": name, "exp_alerts": expected}],
            }
        )
    whole = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(whole))
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


MATCHER_LABELS = re.compile(r'(\w+)="([^"]*)"')


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
        reply = httpx.get(url + path, params=parameters, **PLAIN, timeout=10)
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
