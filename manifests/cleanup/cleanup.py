"""Let go of objects that are being deleted while no operator is there to do so. Needs Python and a token."""

import json
import os
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path(os.environ.get("CLEANUP_ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount"))
HOST = os.environ["KUBERNETES_SERVICE_HOST"]
SERVER = f"https://{f'[{HOST}]' if ':' in HOST else HOST}:{os.environ['KUBERNETES_SERVICE_PORT']}"
CONTEXT = ssl.create_default_context(cafile=ACCOUNT / "ca.crt")
API = "/apis/ipam.dotmac.io/v1alpha1"
FINALIZER = "ipam.dotmac.io/release"


def ask(method, path, body=None, kind="application/json"):
    """The API server's answer; None: it is gone, or has changed meanwhile."""
    headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}", "Content-Type": kind}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{SERVER}{path}", data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, context=CONTEXT, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refusal:
        if refusal.code in {404, 409, 422}:
            return None
        sys.exit(f"{method} {path}: {refusal.code} {refusal.read().decode()}")


def operators():
    """Pods of an operator: it takes the finalizers off itself, and knows what is released."""
    found = ask(
        "GET", "/api/v1/pods?labelSelector=app.kubernetes.io/name=ipam-operator,app.kubernetes.io/component=operator"
    )
    return [pod["metadata"]["namespace"] for pod in found["items"] if pod["status"].get("phase") == "Running"]


def objects(plural):
    """All of a kind, in pages."""
    more = ""
    while True:
        page = ask("GET", f"{API}/{plural}?limit=500{more}")
        if page is None:
            return
        yield from page["items"]
        if not page["metadata"].get("continue"):
            return
        more = f"&continue={page['metadata']['continue']}"


if running := operators():
    sys.exit(f"an operator runs in {', '.join(sorted(set(running)))}: it lets go by itself; uninstall it first")
done = left = 0
for plural in ("ipclaims", "ippools", "ipnetworks"):
    for one in objects(plural):
        meta = one["metadata"]
        if "deletionTimestamp" not in meta:
            left += 1
            continue
        if FINALIZER in meta.get("finalizers", []):
            place = meta["finalizers"].index(FINALIZER)
            patch = [
                {"op": "test", "path": "/metadata/uid", "value": meta["uid"]},
                {"op": "test", "path": f"/metadata/finalizers/{place}", "value": FINALIZER},
                {"op": "remove", "path": f"/metadata/finalizers/{place}"},
            ]
            path = f"{API}/namespaces/{meta['namespace']}/{plural}/{meta['name']}"
            done += ask("PATCH", path, patch, "application/json-patch+json") is not None
print(f"let go of {done} objects that were being deleted; {left} that are not were left alone")
