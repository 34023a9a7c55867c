"""The Grafana dashboard, from a table of panels: `make manifests` writes it into the chart."""

import json
from dataclasses import dataclass
from typing import Any

RATE = "[$__rate_interval]"
POOL = 'namespace=~"$namespace", pool=~"$pool"'
FREE = f'max by (namespace, pool) (ipam_pool_addresses{{state="free", {POOL}}})'
STATES = f"max by (namespace, pool, state) (ipam_pool_addresses{{{POOL}}})"
BATCH, STORE = "ipam_allocation_batch_size", "ipam_store_duration_seconds"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel, as wide as `width` of 24 columns."""

    title: str
    queries: tuple[tuple[str, str], ...]
    """PromQL, and its legend."""
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    description: str = ""


def _quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (f"histogram_quantile({share}, sum by (le) (rate({metric}_bucket{RATE})))", f"p{share * 100:g}")
        for share in (0.5, 0.95, 0.99)
    )


ROWS: dict[str, tuple[Panel, ...]] = {
    "At a glance": (
        Panel("Leader", (("sum(ipam_leader)", ""),), kind="stat", width=4, description="One is right."),
        Panel("Version", (("max by (version) (ipam_build_info)", "{{version}}"),), kind="stat", width=4),
        Panel(
            "Claims that wait",
            (("sum(max by (namespace, pool) (ipam_pool_waiting_claims))", ""),),
            kind="stat",
            width=4,
        ),
        Panel("Conflicts", (("sum(max by (finding) (ipam_conflicts))", ""),), kind="stat", width=4),
        Panel("Releases held by the brake", (("max(ipam_resync_braked_releases)", ""),), kind="stat", width=4),
        Panel(
            "Since the last comparison",
            (('time() - max(ipam_last_success_timestamp_seconds{loop="resync"})', ""),),
            unit="s",
            kind="stat",
            width=4,
        ),
    ),
    "Addresses": (
        Panel(
            "Used of each pool",
            ((f"1 - {FREE} / on (namespace, pool) sum by (namespace, pool) ({STATES})", "{{namespace}}/{{pool}}"),),
            unit="percentunit",
        ),
        Panel(
            "Free",
            ((FREE, "{{namespace}}/{{pool}}"),),
        ),
        Panel(
            "Claims that wait for a pool",
            ((f"max by (namespace, pool) (ipam_pool_waiting_claims{{{POOL}}})", "{{namespace}}/{{pool}}"),),
        ),
        Panel(
            "In each state",
            ((f"sum by (state) ({STATES})", "{{state}}"),),
        ),
        Panel(
            "Answers", (("sum by (result) (rate(ipam_allocations_total[$__rate_interval]))", "{{result}}"),), unit="ops"
        ),
        Panel(
            "Releases and renewals",
            (
                ("sum by (cause) (rate(ipam_releases_total[$__rate_interval]))", "released: {{cause}}"),
                ("sum(rate(ipam_renewals_total[$__rate_interval]))", "renewed"),
            ),
            unit="ops",
        ),
        Panel(
            "Held up by rate limits",
            (
                (
                    'sum by (namespace, operation) (increase(ipam_rate_limited_total{namespace=~"$namespace"}[1h]))',
                    "{{namespace}}: {{operation}}",
                ),
            ),
        ),
        Panel("Conflicts by finding", (("max by (finding) (ipam_conflicts)", "{{finding}}"),)),
        Panel(
            "Deletions told by the webhook in the last hour",
            (("sum by (result) (increase(ipam_deletions_total[1h]))", "{{result}}"),),
            description="Of those that are lost history says `unknown`.",
        ),
    ),
    "How fast": (
        Panel(
            "A claim to PostgreSQL's answer",
            _quantiles("ipam_allocation_duration_seconds"),
            unit="s",
        ),
        Panel(
            "A claim to its written status",
            _quantiles("ipam_claim_answer_duration_seconds"),
            unit="s",
        ),
        Panel(
            "Claims in one statement",
            ((f"sum(rate({BATCH}_sum{RATE})) / sum(rate({BATCH}_count{RATE}))", "mean"),),
        ),
        Panel("Objects that wait for a worker", (("sum by (kind) (ipam_inbox_length)", "{{kind}}"),)),
    ),
    "Below": (
        Panel(
            "Statements",
            (("sum by (operation) (rate(ipam_store_statements_total[$__rate_interval]))", "{{operation}}"),),
            unit="ops",
        ),
        Panel(
            "Slow statements (p99)",
            ((f"histogram_quantile(0.99, sum by (le, operation) (rate({STORE}_bucket{RATE})))", "{{operation}}"),),
            unit="s",
        ),
        Panel(
            "Statements that failed",
            (("sum by (operation) (rate(ipam_store_faults_total[$__rate_interval]))", "{{operation}}"),),
            unit="ops",
        ),
        Panel(
            "Writes to the API server",
            (
                (
                    "sum by (kind, write, code) (rate(ipam_api_writes_total[$__rate_interval]))",
                    "{{kind}} {{write}} {{code}}",
                ),
            ),
            unit="ops",
        ),
        Panel(
            "Age of each loop's last success",
            (("time() - max by (loop) (ipam_last_success_timestamp_seconds)", "{{loop}}"),),
            unit="s",
        ),
    ),
}


def dashboard() -> str:
    """The dashboard as Grafana reads it."""
    body = {
        "title": "IP address management",
        "uid": "dotmac-ipam",
        "tags": ["ipam", "kubernetes"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_datasource(), _variable("namespace"), _variable("pool", ', namespace=~"$namespace"')]},
        "panels": _panels(),
    }
    return json.dumps(body, indent=1) + "\n"


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _variable(label: str, more: str = "") -> dict[str, Any]:
    query = f'label_values(ipam_pool_addresses{{state="free"{more}}}, {label})'
    return {
        "name": label, "type": "query", "datasource": DATASOURCE, "query": query, "refresh": 2,
        "includeAll": True, "multi": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"},
    }  # fmt: skip


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        panels.append({"type": "row", "title": title, "gridPos": {"x": 0, "y": top, "w": 24, "h": 1}, "panels": []})
        top += 1
        left = height = 0
        for panel in row:
            if left + panel.width > 24:
                left, top = 0, top + height
            height = 4 if panel.kind == "stat" else 8
            panels.append(_panel(panel, {"x": left, "y": top, "w": panel.width, "h": height}))
            left += panel.width
        top += height
    return [{"id": number, **panel} for number, panel in enumerate(panels, start=1)]


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + number), "datasource": DATASOURCE, "expr": query, "legendFormat": legend or "__auto"}
        for number, (query, legend) in enumerate(panel.queries)
    ]
    options = {"textMode": "name" if panel.title == "Version" else "auto"} if panel.kind == "stat" else {}
    return {
        "type": panel.kind, "title": panel.title, "description": panel.description, "datasource": DATASOURCE,
        "gridPos": place, "targets": targets, "options": options,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
    }  # fmt: skip
