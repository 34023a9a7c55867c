"""What the user sees: each step, and the seconds it took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(text: str) -> None:
    """Print one line at once, also into a pipe."""
    print(text, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Name a step when it begins and its seconds when it ends, well or not."""
    say(f"==> {title}")
    began = time.monotonic()
    outcome = "failed after "
    try:
        yield
        outcome = ""
    finally:
        say(f"    {title}: {outcome}{time.monotonic() - began:.1f} s")
