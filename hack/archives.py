"""Docker archives written and changed without docker: an image is a configuration and some tar files."""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: Debian's names for machines are the kernel's; images have others.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def layer(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    """A layer that holds these files: name to content and mode, all owned by root, without a time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def write_image(target: Path, name: str, content: bytes, entrypoint: Sequence[str]) -> None:
    """An image of one layer."""
    configuration = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": list(entrypoint)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
    }
    with tarfile.open(target, "w") as archive:
        _add(archive, "layer.tar", content)
        _finish(archive, configuration, name, ["layer.tar"])


def derive_image(source: Path, target: Path, name: str, content: bytes) -> None:
    """The image in `source` under another name, with one more layer."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        manifest: dict[str, Any] = json.load(_member(old, "manifest.json"))[0]
        configuration: dict[str, Any] = json.load(_member(old, manifest["Config"]))
        for each in dict.fromkeys(manifest["Layers"]):
            entry = old.getmember(each)
            while entry.issym() or entry.islnk():  # a layer that occurs twice may be a link to itself
                entry = old.getmember(str(Path(each).parent / entry.linkname) if entry.issym() else entry.linkname)
            copy = tarfile.TarInfo(each)
            copy.size = entry.size
            new.addfile(copy, old.extractfile(entry))
        _add(new, "added.tar", content)
        configuration["rootfs"]["diff_ids"].append(f"sha256:{hashlib.sha256(content).hexdigest()}")
        configuration.pop("history", None)  # it would have to tell of the new layer
        _finish(new, configuration, name, [*manifest["Layers"], "added.tar"])


def name_of(archive: Path) -> str:
    """The name and tag under which this image is loaded."""
    with tarfile.open(archive) as opened:
        return str(json.load(_member(opened, "manifest.json"))[0]["RepoTags"][0])


def _member(archive: tarfile.TarFile, name: str) -> Any:
    found = archive.extractfile(name)
    if found is None:
        raise ValueError(f"{name} is no file of this archive")
    return found


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _finish(archive: tarfile.TarFile, configuration: Mapping[str, Any], name: str, layers: Sequence[str]) -> None:
    text = json.dumps(configuration).encode()
    file = f"{hashlib.sha256(text).hexdigest()}.json"
    _add(archive, file, text)
    manifest = [{"Config": file, "RepoTags": [name], "Layers": list(layers)}]
    _add(archive, "manifest.json", json.dumps(manifest).encode())
