"""Named SQL blocks from `sql/*.sql`, read once."""

import re
from functools import cache
from importlib import resources
from typing import Final

_CALL: Final = re.compile(r"\bipam\.(\w+)\(")
_BLOCK: Final = re.compile(r"^-- name: (\w+)\n(.*?);\s*$", re.MULTILINE | re.DOTALL)


@cache
def blocks() -> dict[str, str]:
    """Every block by its name.

    Raises:
        ValueError: two blocks have one name.
    """
    found: dict[str, str] = {}
    for file in sorted(resources.files("ipam_operator.store.sql").iterdir(), key=lambda path: path.name):
        if file.name.endswith(".sql"):
            for name, statement in _BLOCK.findall(file.read_text()):
                if name in found:
                    raise ValueError(f"two SQL blocks are called {name}")
                found[name] = statement.strip()
    return found


def functions() -> frozenset[str]:
    """Names of the store's functions that the blocks call: all that the operator's role may."""
    return frozenset(name for statement in blocks().values() for name in _CALL.findall(statement))
