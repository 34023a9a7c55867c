"""What a command is."""

import argparse
from collections.abc import Callable, Coroutine
from typing import Any

from ipam_operator.config import Settings

Work = Callable[[Settings, argparse.Namespace], Coroutine[Any, Any, int | None]]
"""Does what its options ask for; gives the exit code, None for 0."""
