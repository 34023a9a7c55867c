import pytest

from tests.bench.figures import Figure, middle, quantile, table

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("figure", "ratio", "goal", "verdict"),
    [
        (Figure("a", 3.0, "ms", limit=2.0, at_most=1.5), 1.5, "<= 1.5x", "ok"),
        (Figure("a", 3.1, "ms", limit=2.0, at_most=1.5), 1.55, "<= 1.5x", "over"),
        (Figure("a", 900.0, "/s", limit=1000.0, at_least=0.9), 0.9, ">= 0.9x", "ok"),
        (Figure("a", 899.0, "/s", limit=1000.0, at_least=0.9), 0.899, ">= 0.9x", "over"),
        (Figure("a", 2.5, "s", at_most=2.0), None, "<= 2 s", "over"),
        (Figure("a", 2.5, "s"), None, "", ""),
        (Figure("a", 2.5, "s", limit=0.0, at_most=1.0), None, "<= 1x", ""),
    ],
)
def test_verdict(figure: Figure, ratio: float | None, goal: str, verdict: str) -> None:
    assert (figure.ratio, figure.goal, figure.verdict) == (ratio, goal, verdict)


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1.0), (0.5, 2.0), (0.51, 3.0), (0.75, 3.0), (0.99, 4.0), (1.0, 4.0)]
)
def test_quantile_is_of_nearest_rank(share: float, value: float) -> None:
    assert quantile([4.0, 1.0, 3.0, 2.0], share) == value


def test_no_values_are_no_figure() -> None:
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)
    with pytest.raises(ValueError, match="no values"):
        middle([])


def test_table_is_aligned() -> None:
    lines = table([Figure("short", 1234.5, "/s", limit=1000.0, at_least=0.9), Figure("longer", 0.5, "ms")]).splitlines()
    assert lines[2].startswith("short ")
    assert lines[2].endswith("1.23x  >= 0.9x       ok")
    assert lines[3].startswith("longer  0.5 ms".replace("  ", " " * (lines[2].index("1,234") - 6 + 2)))
