import re
from pathlib import Path

import pytest

from ipam_operator import telemetry
from ipam_operator.config import Settings, load
from ipam_operator.domain.outcome import Reason
from ipam_operator.errors import SettingsError

ROOT = Path(__file__).parents[2]


def test_every_setting_is_documented() -> None:
    """The table has each setting with its meaning, and no other."""
    table = (ROOT / "docs/reference/settings.md").read_text()
    listed = dict(re.findall(r"^\| `IPAM_(\w+)` \|[^|]*\| (.*) \|$", table, re.MULTILINE))
    fields = Settings.model_fields.items()
    assert listed == {name.upper(): field.description for name, field in fields}


def test_every_metric_is_documented() -> None:
    """The table has each metric, and no other."""
    table = (ROOT / "docs/reference/metrics.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))
    families = telemetry.REGISTRY.collect()
    assert listed == {family.name + ("_total" if family.type == "counter" else "") for family in families}


def test_contributing_names_what_exists() -> None:
    """It is short, and each folder, file, make target and module that it names is there."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert len(text.splitlines()) <= 150
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([\w-]+)", text)) <= targets
    named = set(re.findall(r"`((?:operator|tests|docs|hack|crds|store)/[\w/.]*)`", text))
    missing = [
        name for name in named if not any((base / name).exists() for base in (ROOT, ROOT / "operator/ipam_operator"))
    ]
    assert missing == []
    for module in re.findall(r"python -m ([\w.]+)", text):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists()


def anchors(page: Path) -> set[str]:
    """What a link to this page may name after its `#`, by GitHub's rule for headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere() -> None:
    """Relative links in the documents point at files and headings that are there."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    links = [
        (page, *link) for page in pages for link in re.findall(r"\]\((?!\w+:)([^)#]*)#?([^)]*)\)", page.read_text())
    ]
    assert sum(bool(anchor) for _, _, anchor in links) >= 10
    lost = []
    for page, path, anchor in links:
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(f"{page.name}: {path}#{anchor}")
    assert lost == []


def test_readme_speaks_of_kinds_of_refusal_that_exist() -> None:
    """The lease page names only reasons of the closed set."""
    text = (ROOT / "docs/dev/lease.md").read_text()
    named = set(re.findall(r"──▶ ([A-Z]\w+(?:, [A-Z]\w+)*)  ", text))
    words = {word for group in named for word in group.split(", ")} - {"Held"}
    assert words
    assert words <= {reason.value for reason in Reason}


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, "IPAM_DATABASE_URL"),
        ({"IPAM_DATABASE_URL": "x", "IPAM_TYPO": "1"}, "IPAM_TYPO"),
        ({"IPAM_DATABASE_URL": "x", "IPAM_BATCH_LIMIT": "0"}, "IPAM_BATCH_LIMIT"),
    ],
)
def test_a_wrong_setting_is_named(environment: dict[str, str], named: str) -> None:
    """Missing, unknown and out of bounds are refused by the variable's name."""
    with pytest.raises(SettingsError, match=named):
        load(environment)
