"""One cluster of two nodes for all tests of this folder; they run inside its network."""

from collections.abc import Iterator

import pytest

from hack.node import Node, acquire_node, lack_of_node


@pytest.fixture(scope="package")
def node() -> Iterator[Node]:
    """The cluster; what connects to a pod's or a service's address from here gets there."""
    if lack := lack_of_node():
        pytest.skip(lack)
    with acquire_node() as started, started.entered():
        yield started
