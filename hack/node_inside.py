"""The inside of `hack.node`: PID 1 of its namespaces, and one process for each machine with mounts of its own."""

import json
import os
import resource
import select
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hack.archives import layer, write_image
from hack.control_plane import ControlPlane
from hack.node import ADDRESS, HIDDEN, IMPORT, MACHINES, READY_SECONDS, Machine
from hack.processes import spawn, tail, wait_ready

PODS, SERVICES, DOMAIN = "10.88.0.0/16", "10.0.0.0/24", "cluster.local"
PAUSE_IMAGE = "localhost/pause:dev"
SOCKET = "/run/containerd/containerd.sock"
#: A kubelet sets these for the whole machine; it finds them set already, in files mounted over the real ones.
KERNEL = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}
MOST_FILES = 1_000_000


def run(*args: str | Path) -> None:
    """Run a command of the system's, which speaks into our log."""
    subprocess.run([str(each) for each in args], check=True)


def write(file: Path, content: str | dict[str, Any]) -> Path:
    """Write a configuration; JSON is YAML."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
    return file


# -- one machine -------------------------------------------------------------------------------


def private_mounts(directory: Path) -> None:
    """Places of this machine's own over those of the whole machine."""
    run("mount", "--make-rshared", "/")  # among ourselves only: unshare made it private first
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    for name in HIDDEN[1:]:
        own = directory / name.strip("/").replace("/", "-")
        own.mkdir(parents=True)
        run("mount", "--bind", own, name)
    for key, value in KERNEL.items():
        if Path("/proc/sys", key).exists():
            run("mount", "--bind", write(directory / "kernel" / key, f"{value}\n"), f"/proc/sys/{key}")


def containerd_settings(directory: Path) -> str:
    """It knows one image for pods' namespaces and one network."""
    return f"""version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{directory}/cni"
"""


def network_settings(machine: Machine) -> dict[str, Any]:
    """Pods on the machine's bridge; the rest of the cluster is behind it."""
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": machine.pods, "gateway": machine.address}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": machine.bridge, "isGateway": True, "hairpinMode": True, "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": "test", "plugins": [bridge]}


def kubelet_settings(machine: Machine, authority: Path, cgroup: str) -> dict[str, Any]:
    """A kubelet beside others: addresses, ports and cgroups are machine-wide names."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}-{machine.name}",
        "enforceNodeAllocatable": [],
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        "address": machine.address,
        "healthzBindAddress": machine.address,
        "readOnlyPort": 0,
        "clusterDomain": DOMAIN,
        "clusterDNS": [ADDRESS],
        "resolvConf": "",
        "oomScoreAdj": 0,
        "maxOpenFiles": min(files, MOST_FILES) if files > 0 else MOST_FILES,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
    }


def keep_machine(number: int, programs: Path, state: Path, cgroup: str) -> None:
    """One machine: containerd and a kubelet, until one of them ends."""
    machine = Machine(number)
    directory, logs, control_plane = state / machine.name, state / "log", state / "control-plane"
    private_mounts(directory)
    os.environ["TMPDIR"] = "/run"
    write(directory / "cni" / "10-test.conflist", network_settings(machine))
    settings = write(directory / "containerd.toml", containerd_settings(directory))
    log = logs / f"{machine.name}-containerd.log"
    containerd = spawn(["containerd", "-c", settings], log)
    wait_ready(lambda: succeeds("ctr", "version"), containerd, log, READY_SECONDS)
    run(*IMPORT, state / "pause.tar")
    settings = write(directory / "kubelet.yaml", kubelet_settings(machine, control_plane / "pki" / "ca.crt", cgroup))
    kubelet = spawn(
        [
            programs / "kubelet",
            f"--config={settings}",
            f"--kubeconfig={control_plane}/admin.kubeconfig",
            f"--hostname-override={machine.name}",
            f"--node-ip={machine.address}",
        ],
        logs / f"{machine.name}-kubelet.log",
    )
    while containerd.poll() is None and kubelet.poll() is None:
        time.sleep(0.5)
    sys.exit(f"{machine.name}: containerd {containerd.poll()}, kubelet {kubelet.poll()} (None: still running)")


def succeeds(*command: str) -> bool:
    """Whether this command does."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


# -- the cluster -------------------------------------------------------------------------------


def lay_network() -> None:
    """A bridge for each machine: its address and its pods' gateway at once. No interface leads out."""
    run("ip", "link", "set", "lo", "up")
    for machine in MACHINES:
        # Without a MAC of its own a bridge has the lowest of its pods': when that one comes or goes, the others send to
        # an address that is nobody's until they ask anew, which takes up to half a minute.
        run("ip", "link", "add", machine.bridge, "address", machine.mac, "type", "bridge")
        run("ip", "addr", "add", f"{machine.address}/24", "dev", machine.bridge)
        run("ip", "link", "set", machine.bridge, "up")
    run("ip", "route", "add", SERVICES, "dev", MACHINES[0].bridge)  # else connect() fails before kube-proxy's rules
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    bridged = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")  # from pod to pod by the address of a service
    if bridged.exists():
        bridged.write_text("1")


def proxy_settings(kubeconfig: Path) -> dict[str, Any]:
    """One proxy is enough for machines that share a kernel's network."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "bindAddress": ADDRESS,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "clusterCIDR": PODS,
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "conntrack": {"maxPerCore": 0, "min": 0},
    }


def names(kubeconfig: Path) -> str:
    """Of the cluster's services; every other name does not exist, since a refusal would read as "try again".

    That is a block of its own: CoreDNS runs `template` before `kubernetes`, whatever the file's order.
    """
    return f"""{DOMAIN} in-addr.arpa {{
  bind {ADDRESS}
  errors
  ready 127.0.0.1:8181
  kubernetes {{
    kubeconfig {kubeconfig}
  }}
}}
. {{
  bind {ADDRESS}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""


def keep_cluster(assets: Path, programs: Path, state: Path, cgroup: str, *, detached: bool) -> None:
    """All of it, until whoever started us closes our standard input or dies; then the kernel ends the rest."""
    began, logs = time.monotonic(), state / "log"
    lay_network()
    pause = layer({"pause": ((programs / "pause").read_bytes(), 0o755)})
    write_image(state / "pause.tar", PAUSE_IMAGE, pause, ["/pause"])
    keys = state / "control-plane" / "pki"
    control_plane = ControlPlane(
        assets,
        state / "control-plane",
        address=ADDRESS,
        controllers=["*"],
        seconds=READY_SECONDS,
        apiserver_args=[
            "--endpoint-reconciler-type=lease",  # pods reach it as a service
            "--kubelet-preferred-address-types=InternalIP",  # for kubectl logs and exec: nodes are in no DNS
            f"--kubelet-client-certificate={keys}/admin.crt",
            f"--kubelet-client-key={keys}/admin.key",
        ],
    ).start()
    admin = control_plane.kubeconfig
    processes = {
        machine.name: spawn(
            ["unshare", "--mount", "--", sys.executable, "-m", "hack.node_inside", "machine", str(machine.number)]
            + [str(each) for each in (programs, state, cgroup)],
            logs / f"{machine.name}.log",
        )
        for machine in MACHINES
    }
    proxy = write(state / "kube-proxy.yaml", proxy_settings(admin))
    servers: dict[str, Sequence[str]] = {
        "kube-proxy": [f"--config={proxy}", f"--hostname-override={MACHINES[0].name}"],
        "kube-scheduler": [f"--kubeconfig={admin}", "--leader-elect=false", "--secure-port=0"],
        "coredns": ["-conf", str(write(state / "Corefile", names(admin)))],
    }
    for name, args in servers.items():
        processes[name] = spawn([programs / name, *args], logs / f"{name}.log")
    for machine in MACHINES:
        kubelet = logs / f"{machine.name}-kubelet.log"
        wait_ready(node_ready(control_plane, machine), processes[machine.name], kubelet, READY_SECONDS)
    wait_ready(knows_names, processes["coredns"], logs / "coredns.log", READY_SECONDS)
    report = {
        "version": control_plane.version(),
        "control_plane": str(assets),
        "seconds": round(time.monotonic() - began, 1),
        "machines": {machine.name: processes[machine.name].pid for machine in MACHINES},
    }
    (state / "ready.new").write_text(json.dumps(report))
    (state / "ready.new").rename(state / "ready.json")
    watch(control_plane, processes, logs, detached=detached)


def node_ready(control_plane: ControlPlane, machine: Machine) -> Callable[[], bool]:
    """Asks whether the API server takes this node for ready."""

    def check() -> bool:
        status = json.loads(control_plane.get(f"/api/v1/nodes/{machine.name}") or "{}").get("status", {})
        return any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", []))

    return check


def knows_names() -> bool:
    """Whether DNS has seen the services."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            "http://127.0.0.1:8181/ready", timeout=2
        ):
            return True
    except OSError:
        return False


def watch(
    control_plane: ControlPlane, processes: "dict[str, subprocess.Popen[bytes]]", logs: Path, *, detached: bool
) -> None:
    """Wait for the end; a server that dies ends all, so that nobody tests half a cluster.

    Raises:
        SystemExit: naming who died.
    """
    while True:
        if select.select([] if detached else [sys.stdin], [], [], 0.5)[0]:
            return
        dead = [name for name, process in processes.items() if process.poll() is not None] + control_plane.dead()
        if dead:
            sys.exit("\n".join(f"{name} died:\n{tail(logs / f'{name}.log')}" for name in dead))
        reap({process.pid for process in processes.values()} | set(control_plane.pids.values()))


def reap(ours: set[int]) -> None:
    """Bury the orphans of the namespace, which are PID 1's, but not who `Popen` waits for."""
    while (seen := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
        if seen.si_pid in ours:
            return
        os.waitpid(seen.si_pid, 0)


def main(arguments: Sequence[str]) -> None:
    """What `hack.node` starts."""
    match arguments:
        case ["cluster", assets, programs, state, cgroup, *rest]:
            keep_cluster(Path(assets), Path(programs), Path(state), cgroup, detached=bool(rest))
        case ["machine", number, programs, state, cgroup]:
            keep_machine(int(number), Path(programs), Path(state), cgroup)
        case _:
            sys.exit("started by hack.node only")


if __name__ == "__main__":
    main(sys.argv[1:])
