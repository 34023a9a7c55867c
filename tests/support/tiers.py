"""Which tier a test belongs to: by its folder, and by the servers it asks for."""

from collections.abc import Collection, Sequence

TIERS = frozenset({"db", "apiserver", "image", "node", "adversarial"})
"""Markers of tests that need more than Python: in CI none of them may be skipped."""
FOLDERS = {"db": "db", "apiserver": "apiserver", "adversarial": "adversarial", "image": "image", "e2e": "node"}
DB_FIXTURES = frozenset({"postgres", "database_url", "empty_database_url", "template_database"})
API_FIXTURES = frozenset({"control_plane", "own_control_plane", "api", "namespace", "make_namespace", "operator"})


def markers(parts: Sequence[str], fixtures: Collection[str], own: Collection[str]) -> set[str]:
    """Markers that a test is to carry.

    Args:
        parts: folders and file below tests/.
        fixtures: all that it uses, directly or not.
        own: markers that it carries already.
    """
    found = set(own)
    top = parts[0] if len(parts) > 1 else ""
    if top in FOLDERS:
        found.add(FOLDERS[top])
    if top == "bench" and "unit" not in own:
        found.add("performance")
    if not DB_FIXTURES.isdisjoint(fixtures):
        found.add("db")
    if not API_FIXTURES.isdisjoint(fixtures):
        found.add("apiserver")
    if "apiserver" in found:
        found.discard("db")  # one tier each: the one that needs more
    if not {"image", "node"}.isdisjoint(found):
        found -= {"db", "apiserver"}
    if not {"db", "apiserver", "image", "node"}.isdisjoint(found):
        found.add("integration")
    if found.isdisjoint({*TIERS, "performance"}):
        found.add("unit")
    return found


def skip_is_failure(own: Collection[str], ci: str | None) -> bool:
    """Whether a skip of a test with these markers must fail the run."""
    return bool(ci) and not TIERS.isdisjoint(own)
