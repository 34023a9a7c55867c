"""What was measured, side by side, and the figures that follow."""

from collections import defaultdict

from tests.bench.figures import Figure, middle, quantile
from tests.bench.load import Burst
from tests.bench.sides import Side

SLOWER = 1.3
"""How much longer a user may wait than with the bare writer."""
RATE, WORST_RATE = 0.9, 0.75


class Samples:
    """Values by side and name; rounds in the order in which they were taken."""

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._values: dict[Side, dict[str, list[float]]] = {side: defaultdict(list) for side in Side}

    def add(self, side: Side, name: str, *values: float) -> None:
        """Remember."""
        self._values[side][name].extend(values)

    def add_burst(self, side: Side, name: str, burst: Burst) -> None:
        """Remember a burst under this name."""
        number = len(burst.names)
        self.add(side, f"{name} rate", burst.rate)
        self.add(side, f"{name} waits", *burst.waits)
        self.add(side, f"{name} writer cpu", burst.used.writer_cpu / number * 1e6)
        self.add(side, f"{name} api cpu", burst.used.api_cpu / number * 1e6)
        self.add(side, f"{name} machine cpu", burst.used.machine_cpu / number * 1e6)
        self.add(side, f"{name} writes", burst.used.writes / number)

    def burst(self, name: str, *, judged: bool) -> list[Figure]:
        """Figures of all bursts of this name; `judged`: their rates have goals."""
        return [
            *self._rates(name, judged=judged),
            self._compared(f"{name}: writes of it per claim", f"{name} writes", "", at_most=1.01),
            self._compared(f"{name}: CPU of the writer per claim", f"{name} writer cpu", "us"),
            self._compared(f"{name}: CPU of the API server per claim", f"{name} api cpu", "us"),
            self._compared(f"{name}: CPU of all processes per claim", f"{name} machine cpu", "us"),
            self._waits(f"{name}: wait", f"{name} waits", 0.5),
            self._waits(f"{name}: wait", f"{name} waits", 0.99),
        ]

    def wait(self, what: str, name: str, share: float) -> Figure:
        """A wait that has a goal."""
        return self._waits(what, name, share, at_most=SLOWER)

    def _rates(self, name: str, *, judged: bool) -> list[Figure]:
        key = f"{name} rate"
        goal = RATE if judged else None
        figures = [self._compared(f"{name}: rate", key, "/s", at_least=goal)]
        pairs = list(zip(self._values[Side.OPERATOR][key], self._values[Side.BARE][key], strict=True))
        if judged and len(pairs) > 1:
            ours, limit = min(pairs, key=lambda pair: pair[0] / pair[1])
            figures.append(Figure(self._title(f"{name}: rate, worst round"), ours, "/s", limit, at_least=WORST_RATE))
        return figures

    def _compared(
        self, what: str, name: str, unit: str, *, at_most: float | None = None, at_least: float | None = None
    ) -> Figure:
        ours, limit = (middle(self._values[side][name]) for side in Side)
        return Figure(self._title(what), ours, unit, limit, at_most, at_least)

    def _waits(self, what: str, name: str, share: float, at_most: float | None = None) -> Figure:
        ours, limit = (quantile(self._values[side][name], share) * 1e3 for side in Side)
        return Figure(self._title(f"{what}, p{share * 100:.0f}"), ours, "ms", limit, at_most)

    def _title(self, what: str) -> str:
        return f"[{self._mode}] {what}"
