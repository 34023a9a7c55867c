"""Alerts and dashboard speak of metrics that exist, and alerts fire when they are to."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.places import ROOT
from hack.promtool import promtool
from ipam_operator import telemetry
from tests.chart.support import CHART, PROFILES, one, render

RULES = CHART / "files" / "rules.yaml"
CASES = Path(__file__).parent / "rules_test.yaml"
RUNBOOKS = ROOT / "docs/operations/runbooks.md"
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((CHART / "files" / "dashboard.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
OF_PROMETHEUS = {"le"}


def exported() -> dict[str, set[str]]:
    """Labels of every series that the operator can export, by the series' name."""
    series: dict[str, set[str]] = {}
    for metric in vars(telemetry).values():
        if name := getattr(metric, "_name", None):
            labels = set(metric._labelnames)  # noqa: SLF001 - the library tells of labels that have a value only
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
            for suffix in suffixes.get(metric._type, ("",)):  # noqa: SLF001 - the same
                series[f"{name}{suffix}"] = labels
    return series


@pytest.fixture(scope="module")
def program() -> Path:
    """promtool, where it can be had."""
    try:
        return promtool()
    except RuntimeError as lack:
        pytest.skip(str(lack))


@pytest.mark.parametrize("query", [*(rule["expr"] for rule in ALERTS), *QUERIES])
def test_queries_name_what_is_exported(query: str) -> None:
    """Each metric in a query is one of ours, and each label that it asks of it is one that it has."""
    series = exported()
    named = set(re.findall(r"\bipam_\w+", query))
    assert named
    assert named <= series.keys()
    labels = {label for name in named for label in series[name]} | OF_PROMETHEUS
    asked = re.findall(r"(\w+)\s*(?:=~|!~|!=|=(?!=))\s*\"", query)
    asked += [label for inside in re.findall(r"\b(?:by|on) \(([^)]*)\)", query) for label in re.findall(r"\w+", inside)]
    assert set(asked) <= labels


def test_the_dashboard_shows_every_metric() -> None:
    """No metric is forgotten: whatever the operator counts can be seen."""
    shown = " ".join(QUERIES)
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported()}
    assert [name for name in sorted(families) if name not in shown] == []


def test_panels_do_not_overlap() -> None:
    """Each panel has a place of its own on the 24 columns."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def judge(program: Path, directory: Path, rule: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether a rule passes what the cases say of its alert, and promtool's words; the others would take time."""
    cases = yaml.load(CASES.read_text(), yaml.BaseLoader)  # noqa: S506 - text only: 0x30 is a series here, no number
    for case in cases["tests"]:
        case["alert_rule_test"] = [one for one in case["alert_rule_test"] if one["alertname"] == rule["alert"]]
    cases["tests"] = [case for case in cases["tests"] if case["alert_rule_test"]]
    (directory / "cases.yaml").write_text(yaml.safe_dump(cases))
    (directory / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [dict(rule)]}]}))
    return verdict(program, directory)


def verdict(program: Path, directory: Path) -> tuple[bool, str]:
    """Whether cases.yaml of the directory passes, and promtool's words."""
    command = [str(program), "test", "rules", str(directory / "cases.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def test_alerts_fire_when_they_are_to(program: Path, tmp_path: Path) -> None:
    """The alerts' own tests pass."""
    shutil.copy(RULES, tmp_path / "rules.yaml")
    shutil.copy(CASES, tmp_path / "cases.yaml")
    passed, said = verdict(program, tmp_path)
    assert passed, said


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_is_seen_to_fire_and_to_keep_silent(rule: dict[str, Any], program: Path, tmp_path: Path) -> None:
    """Its cases notice an expression that is never true, and one that always is: they prove something."""
    alert = rule["alert"]
    cases = yaml.safe_load(CASES.read_text())["tests"]
    told = [one for case in cases for one in case["alert_rule_test"] if one["alertname"] == alert]
    assert {bool(one.get("exp_alerts")) for one in told} == {True, False}
    passed, said = judge(program, tmp_path, rule)
    assert passed, said
    for always, expression in ((False, "vector(1) < 0"), (True, "vector(1)")):
        passed, said = judge(program, tmp_path, rule | {"expr": expression})
        assert not passed
        silent = re.findall(rf"alertname: {alert}, time: \w+,\s+exp:\[\s*\]", said)
        assert bool(silent) is always, said


@pytest.mark.parametrize(
    ("alert", "limit", "other"),
    [
        ("IpamPoolNearlyExhausted", "< 0.1\n", "< 0.12\n"),
        ("IpamPoolNearlyExhausted", "< 0.1\n", "< 0.01\n"),
        ("IpamAllocationSlow", "> 1\n", "> 3\n"),
        ("IpamApiWritesFail", "> 0.05\n", "> 0.03\n"),
        ("IpamApiWritesFail", "5..|403|429", "5..|403|404|429"),
        ("IpamStoreFaults", "> 0.1\n", "> 0.05\n"),
        ("IpamNamespaceRateLimited", "> 20\n", "> 5\n"),
        ("IpamResyncStale", "> 900\n", "> 1500\n"),
        ("IpamAuditStale", "> 1800 and", "> 2500 and"),
    ],
)
def test_thresholds_are_tested(alert: str, limit: str, other: str, program: Path, tmp_path: Path) -> None:
    """Those tests notice a changed threshold, in either direction."""
    (rule,) = (one for one in ALERTS if one["alert"] == alert)
    expression = f"{rule['expr']}\n"
    assert limit in expression
    passed, said = judge(program, tmp_path, rule | {"expr": expression.replace(limit, other, 1)})
    assert not passed
    assert f"alertname: {alert}, time:" in said


def test_every_alert_has_its_runbook() -> None:
    """Runbooks and alerts are the same list, and each alert links to its own entry."""
    headings = re.findall(r"^### (\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in ALERTS]
    groups = one(
        render({"metrics": {"rules": {"enabled": True, "runbookUrl": "https://wiki.example/ipam"}}}), "PrometheusRule"
    )
    for group in groups["spec"]["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"]["runbook_url"] == f"https://wiki.example/ipam#{rule['alert'].lower()}"


def test_alerts_are_left_out_by_name() -> None:
    """Whoever has no use for an alert names it; labels for all are added."""
    values = {"metrics": {"rules": {"enabled": True, "disabled": ["IpamPoolFillsUp"], "labels": {"team": "network"}}}}
    rules = [rule for group in one(render(values), "PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
    assert {rule["alert"] for rule in ALERTS} - {rule["alert"] for rule in rules} == {"IpamPoolFillsUp"}
    assert all(rule["labels"]["team"] == "network" and "severity" in rule["labels"] for rule in rules)


def test_rules_are_rendered_as_they_are_tested(program: Path, tmp_path: Path) -> None:
    """The PrometheusRule holds the expressions of the file, unharmed by templates; promtool reads them."""
    spec = one(render({"metrics": {"rules": {"enabled": True}}}), "PrometheusRule")["spec"]
    made = {
        rule["alert"]: (rule["expr"], rule["annotations"]["summary"])
        for group in spec["groups"]
        for rule in group["rules"]
    }
    assert made == {rule["alert"]: (rule["expr"], rule["annotations"]["summary"]) for rule in ALERTS}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    done = subprocess.run(
        [program, "check", "rules", tmp_path / "spec.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_pools_namespace_is_not_renamed() -> None:
    """Prometheus keeps our label `namespace`; else it would be the operator's, and every alert would name that."""
    objects = render(PROFILES["everything"])
    (endpoint,) = one(objects, "ServiceMonitor")["spec"]["endpoints"]
    (pod,) = one(objects, "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is pod["honorLabels"] is True
    ports = {port["name"] for port in one(objects, "Service")["spec"]["ports"]}
    assert {endpoint["port"], pod["port"]} <= ports


def test_dashboard_is_found_by_grafana() -> None:
    """The ConfigMap holds the dashboard, under the label that Grafana's sidecar looks for."""
    found = one(render({"metrics": {"dashboard": {"enabled": True}}}), "ConfigMap", "ipam-operator-dashboard")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(found["data"]["ipam-operator.json"]) == DASHBOARD
