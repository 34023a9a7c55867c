"""Endless capped back-off with jitter: what fails for an hour must still work afterwards."""

import random
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CappedBackoff:
    """Delays in seconds, doubling from `first` to `cap`, each shortened by up to half at random.

    Endless and without `len()`; Kopf iterates it anew for every request.
    """

    first: float = 0.2
    cap: float = 30.0

    def __iter__(self) -> Iterator[float]:
        """Start from the first delay."""
        delay = self.first
        while True:
            yield delay * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
            delay = min(delay * 2, self.cap)
