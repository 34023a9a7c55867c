"""Images without docker."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from hack.archives import derive_image, layer, name_of, write_image


def parts(archive: Path) -> tuple[dict[str, bytes], dict[str, object]]:
    """Files of an archive, and its configuration."""
    with tarfile.open(archive) as opened:
        files = {each.name: opened.extractfile(each).read() for each in opened}  # type: ignore[union-attr]
    manifest = json.loads(files["manifest.json"])[0]
    return {name: files[name] for name in manifest["Layers"]}, json.loads(files[manifest["Config"]])


def test_layers_match_their_checksums(tmp_path: Path) -> None:
    """Each layer's checksum stands in the configuration, in the order of the layers: else a runtime refuses it."""
    first, second = layer({"a": (b"1", 0o755)}), layer({"b": (b"2", 0o644)})
    write_image(tmp_path / "base.tar", "localhost/base:1", first, ["/a"])
    derive_image(tmp_path / "base.tar", tmp_path / "more.tar", "localhost/more:2", second)
    layers, configuration = parts(tmp_path / "more.tar")
    assert list(layers.values()) == [first, second]
    sums = [f"sha256:{hashlib.sha256(content).hexdigest()}" for content in layers.values()]
    assert configuration["rootfs"] == {"type": "layers", "diff_ids": sums}
    assert configuration["config"] == {"Entrypoint": ["/a"]}
    assert name_of(tmp_path / "more.tar") == "localhost/more:2"


def test_same_files_make_the_same_layer() -> None:
    """A layer holds no time, so that two of the same content are one."""
    content = layer({"a": (b"1", 0o755)})
    assert content == layer({"a": (b"1", 0o755)})
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        assert [(each.name, each.mode, each.uid) for each in opened] == [("a", 0o755, 0)]
