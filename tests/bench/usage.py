"""CPU seconds, memory and API writes, as the kernel and the API server count them."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench.rest import Users

_TICKS = os.sysconf("SC_CLK_TCK")
_LINE = re.compile(r"^apiserver_request_total\{(?P<labels>[^}]*)\} (?P<value>\S+)$", re.MULTILINE)
_WRITES = ("PATCH", "PUT", "APPLY")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, all threads; 0 for none."""
    if not pid:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def machine_cpu_seconds() -> float:
    """Time that all cores have worked, for whomever: users, API server, its store, database and writer."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / _TICKS


def memory_mb(pid: int) -> float:
    """Resident memory in megabytes."""
    return _megabytes(pid, "VmRSS")


def peak_memory_mb(pid: int) -> float:
    """The most that it was, in megabytes."""
    return _megabytes(pid, "VmHWM")


def _megabytes(pid: int, line: str) -> float:
    found = re.search(rf"^{line}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def api_server_pid(server: str) -> int:
    """Of the API server behind this URL, if it is a process of this machine; else 0."""
    mark = f"--secure-port={urlsplit(server).port}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"kube-apiserver") and mark in words:
                return int(entry.name)
    return 0


async def api_writes(users: Users) -> float:
    """Requests that changed an existing IPClaim since the API server began."""
    total = 0.0
    for found in _LINE.finditer(await users.text("/metrics")):
        labels = found["labels"]
        if 'resource="ipclaims"' in labels and any(f'verb="{verb}"' in labels for verb in _WRITES):
            total += float(found["value"])
    return total


@dataclass(frozen=True)
class Usage:
    """What has been used up to one moment; subtract an earlier one."""

    writer_cpu: float
    api_cpu: float
    writes: float
    machine_cpu: float

    def since(self, earlier: "Usage") -> "Usage":
        """What was used in between."""
        ours, others = vars(self), vars(earlier)
        return Usage(**{name: ours[name] - others[name] for name in ours})


async def usage(users: Users, writer: int, api_server: int) -> Usage:
    """Everything so far."""
    return Usage(cpu_seconds(writer), cpu_seconds(api_server), await api_writes(users), machine_cpu_seconds())
