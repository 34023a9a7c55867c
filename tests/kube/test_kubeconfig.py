import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ipam_operator.errors import ClusterUnavailableError, SettingsError
from ipam_operator.kube.kubeconfig import read

SERVER = "https://127.0.0.1:6443"
PEM = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
PLUGIN = """\
import json, os, sys
told = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
status = {"token": f"{sys.argv[1]} {os.environ['REGION']} {told['spec']['interactive']}", "clientKeyData": "key"}
print(json.dumps({"apiVersion": told["apiVersion"], "kind": "ExecCredential", "status": status}))
"""


def write(directory: Path, *, user: Any = None, cluster: Any = None, **top: Any) -> Path:
    """A kubeconfig of the contexts `here`, as given, and `there`; the current one is `there`."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "there",
        "clusters": [
            {"name": "one", "cluster": {"server": SERVER, **(cluster or {})}},
            {"name": "two", "cluster": {"server": "https://there:6443"}},
        ],
        "users": [{"name": "me", "user": user or {}}],
        "contexts": [
            {"name": "here", "context": {"cluster": "one", "user": "me"}},
            {"name": "there", "context": {"cluster": "two", "user": "me"}},
            {"name": "nowhere", "context": {"cluster": "three", "user": "me"}},
        ],
        **top,
    }
    path = directory / "kubeconfig"
    path.write_text(json.dumps(content))
    return path


def test_the_named_context_or_the_current_one(tmp_path: Path) -> None:
    """A name chooses the context; without one it is the file's current one, as with kubectl."""
    path = write(tmp_path)
    assert read(path, "here").login().server == SERVER
    assert read(path, None).login().server == "https://there:6443"


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates and tokens are looked for beside the kubeconfig, wherever the program was started."""
    (tmp_path / "token").write_text("secret\n")
    user = {"tokenFile": "token", "client-certificate": "pki/me.crt", "client-key": "/keys/me.key"}
    write(tmp_path, user=user, cluster={"certificate-authority": "ca.crt"})
    monkeypatch.chdir(tmp_path.parent)
    info = read(Path(tmp_path.name, "kubeconfig"), "here").login()
    assert info.token == "secret"
    assert (info.ca_path, info.certificate_path, info.private_key_path) == (
        tmp_path / "ca.crt", tmp_path / "pki/me.crt", Path("/keys/me.key"),
    )  # fmt: skip


def test_a_token_that_was_rotated_is_read_anew(tmp_path: Path) -> None:
    """Each login reads the file of the token again; one that is gone means to wait, not to end."""
    token = tmp_path / "token"
    token.write_text("first")
    context = read(write(tmp_path, user={"tokenFile": "token"}), "here")
    assert context.login().token == "first"
    token.write_text("second")
    assert context.login().token == "second"
    token.unlink()
    with pytest.raises(ClusterUnavailableError, match="token"):
        context.login()


def test_data_stands_for_itself(tmp_path: Path) -> None:
    """Certificates inside of the file win over files, and reach Kopf as they are."""
    data = base64.b64encode(PEM.encode()).decode()
    path = write(tmp_path, cluster={"certificate-authority-data": data, "certificate-authority": "ca.crt"})
    info = read(path, "here").login()
    assert (info.ca_data, info.ca_path) == (data, None)


def test_a_plugin_logs_in(tmp_path: Path) -> None:
    """The program that a user's entry names is run with its arguments and variables, and its answer is used."""
    (tmp_path / "plugin.py").write_text(PLUGIN)
    environment = [{"name": "REGION", "value": "north"}]
    plugin = {"command": sys.executable, "args": [str(tmp_path / "plugin.py"), "token-of"], "env": environment}
    info = read(write(tmp_path, user={"exec": plugin}), "here").login()
    assert info.token == "token-of north False"
    assert info.private_key_data == "key"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit('session expired: log in')", "session expired: log in"),
        ("print('no JSON')", "JSONDecodeError"),
        ("print('{}')", "KeyError"),
        ("print('[]')", "TypeError"),
        ("""print('{"status": "yes"}')""", "ValueError"),
    ],
)
def test_a_plugin_that_fails_is_quoted(tmp_path: Path, code: str, said: str) -> None:
    """What the plugin says when it cannot log in is what the operator says; it goes on asking."""
    plugin = {"command": sys.executable, "args": ["-c", code]}
    context = read(write(tmp_path, user={"exec": plugin}), "here")
    with pytest.raises(ClusterUnavailableError, match=said):
        context.login()


def test_a_plugin_that_is_not_installed_is_named(tmp_path: Path) -> None:
    """A missing program is called by its name."""
    context = read(write(tmp_path, user={"exec": {"command": "ipam-no-such-plugin"}}), "here")
    with pytest.raises(ClusterUnavailableError, match="ipam-no-such-plugin"):
        context.login()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("elsewhere", {}, "no context elsewhere; it has: here, nowhere, there"),
        ("nowhere", {}, "the cluster of context nowhere is not there"),
        (None, {"current-context": ""}, "choose one by --context; it has: here, nowhere, there"),
        (None, {"contexts": None}, "no context there; it has: none"),
        ("here", {"user": {"exec": {}}}, "the exec plugin of context here has no command"),
        ("here", {"user": {"as": "admin"}}, "has as, which is not supported"),
        ("here", {"user": {"auth-provider": {"name": "gcp"}}}, "has auth-provider, which is not supported"),
        ("here", {"cluster": {"tls-server-name": "a"}}, "has tls-server-name, which is not supported"),
    ],
)
def test_refused_in_one_line(tmp_path: Path, name: str | None, content: dict[str, Any], said: str) -> None:
    """What cannot be served is refused at once, in one line that names the file and what it has."""
    path = write(tmp_path, **content)
    with pytest.raises(SettingsError) as caught:
        read(path, name)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"a: [", b"words", b"", b"\xff\xfe"])
def test_no_kubeconfig_is_refused_in_one_line(tmp_path: Path, text: bytes) -> None:
    """A file that is something else, or nothing, is named."""
    path = tmp_path / "kubeconfig"
    path.write_bytes(text)
    with pytest.raises(SettingsError, match=str(path)) as caught:
        read(path, None)
    assert "\n" not in str(caught.value)
