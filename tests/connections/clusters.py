"""A cluster of a test's own, whose etcd can be lost, or set back to what it was."""

import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from hack.acquire import acquire
from hack.control_plane import ControlPlane
from hack.install import NAMESPACE, SERVICE_ACCOUNT, await_served, install
from hack.places import temporary
from hack.stack import open_cluster


class OwnCluster:
    """`kubeconfig` is the administrator's, `operator` the operator's; both change with `restore` and `lose`."""

    def __init__(self) -> None:
        self._ground = temporary("own")
        self._dir = self._ground.__enter__()
        cluster = open_cluster(acquire(), self._dir)
        if not isinstance(cluster, ControlPlane):
            pytest.skip("needs a control plane whose processes are ours")
        self.control_plane = cluster
        self.operator = self._dir / "operator.kubeconfig"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.control_plane.kubeconfig

    def __enter__(self) -> Self:
        self.control_plane.start()
        self._install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.control_plane.stop()
        self._ground.__exit__(kind, value, trace)

    def _install(self) -> None:
        install(self.control_plane)
        self._allow()

    def _allow(self) -> None:
        self.control_plane.service_account_kubeconfig(NAMESPACE, SERVICE_ACCOUNT, self.operator)

    def back_up(self) -> None:
        """Keep what etcd has now."""
        self.control_plane.stop()
        shutil.copytree(self._dir / "etcd", self._dir / "backup")
        self.control_plane.start()
        await_served(self.control_plane)
        self._allow()

    def restore(self) -> None:
        """Set etcd back to what was kept."""
        self.control_plane.stop()
        shutil.rmtree(self._dir / "etcd")
        shutil.copytree(self._dir / "backup", self._dir / "etcd")
        self.control_plane.start()
        await_served(self.control_plane)
        self._allow()

    def lose(self) -> None:
        """Another cluster in its place, in which nothing is but our kinds."""
        self.control_plane.stop()
        shutil.rmtree(self._dir / "etcd")
        self.control_plane.start()
        self._install()
