"""Prometheus' text format, as far as tests ask for it."""

from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families


class Sample(NamedTuple):
    """One line: a name, its labels, its value."""

    name: str
    labels: dict[str, str]
    value: float


class Samples(list[Sample]):
    """All lines of one scrape."""

    def total(self, name: str, **labels: str) -> float:
        """Sum of a name's samples that carry these labels; 0 if there is none."""
        return sum(sample.value for sample in self if sample.name == name and labels.items() <= sample.labels.items())


def parse(text: str) -> Samples:
    """Read one scrape."""
    families = text_string_to_metric_families(text)
    return Samples(Sample(row.name, dict(row.labels), row.value) for family in families for row in family.samples)
