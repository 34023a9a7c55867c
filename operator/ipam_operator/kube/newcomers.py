"""Claims that come before the store knows their namespace, which may have limits of its own."""

from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

from ipam_operator.kube.inbox import Item


class LetIn(Protocol):
    """Told when the store knows namespaces, and what they say of their limits."""

    def __call__(self, namespaces: Mapping[str, bool], *, whole: bool) -> None:
        """Whether each is there; `whole`: these are all namespaces that there are."""


class Newcomers:
    """Filled by what the cluster shows: whom it forgets the resync brings back."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._aside: dict[UUID, Item] = {}

    def wait(self, item: Item) -> bool:
        """Whether the claim has to wait for its namespace; if so, until `let_in`."""
        namespace = item.identity.ref.namespace
        if item.dying or namespace in self._known:
            self._aside.pop(item.uid, None)
            return False
        self._aside[item.uid] = item
        return True

    def let_in(self, namespaces: Mapping[str, bool], *, whole: bool) -> list[Item]:
        """The store knows which of these there are; `whole`: these are all. The claims that have waited for them."""
        if whole:
            self._known.clear()
        self._known.update(name for name, there in namespaces.items() if there)
        self._known.difference_update(name for name, there in namespaces.items() if not there)
        ready = [item for item in self._aside.values() if item.identity.ref.namespace in self._known]
        for item in ready:
            del self._aside[item.uid]
        return ready
