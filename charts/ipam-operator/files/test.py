"""`helm test`: claim an address, see it, release it. Needs Python alone and a ServiceAccount's token."""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path(os.environ.get("TEST_ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount"))
HOST = os.environ["KUBERNETES_SERVICE_HOST"]
SERVER = f"https://{f'[{HOST}]' if ':' in HOST else HOST}:{os.environ['KUBERNETES_SERVICE_PORT']}"
SECONDS = float(os.environ["TEST_SECONDS"])
NAME = os.environ["TEST_NAME"]
CONTEXT = ssl.create_default_context(cafile=ACCOUNT / "ca.crt")
NAMESPACE = (ACCOUNT / "namespace").read_text()
KINDS = {"ipnetworks": "IPNetwork", "ippools": "IPPool", "ipclaims": "IPClaim"}
SPECS = {
    "ipnetworks": {"cidr": "192.0.2.0/29", "description": "made by helm test"},
    "ippools": {"networkRef": {"name": NAME}},
    "ipclaims": {"poolRef": {"name": NAME}},
}


def ask(method, plural, name="", body=None):
    """The API server's answer; None: there is no such object."""
    url = f"{SERVER}/apis/ipam.dotmac.io/v1alpha1/namespaces/{NAMESPACE}/{plural}" + (name and f"/{name}")
    token = (ACCOUNT / "token").read_text()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, context=CONTEXT, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refusal:
        if refusal.code == 404 and method != "POST":
            return None
        sys.exit(f"{method} {plural}: {refusal.code} {refusal.read().decode()}")


def until(what, holds):
    """Wait until `holds` returns something, and say how long that took."""
    began = time.monotonic()
    while not (found := holds()):
        if time.monotonic() - began > SECONDS:
            claim = ask("GET", "ipclaims", NAME) or {}
            sys.exit(f"not within {SECONDS:.0f} s: {what}; the claim says {json.dumps(claim.get('status'))}")
        time.sleep(0.2)
    print(f"{what}: {time.monotonic() - began:.1f} s", flush=True)
    return found


def clear():
    """Delete what we make, the claim first, and wait until it is gone."""
    for plural in reversed(KINDS):
        ask("DELETE", plural, NAME)
        until(f"{KINDS[plural]} is gone", lambda plural=plural: ask("GET", plural, NAME) is None)


def address():
    """The claim's address once it is ready."""
    status = (ask("GET", "ipclaims", NAME) or {}).get("status", {})
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", []))
    return status.get("address") if ready else None


clear()  # of a test that was killed
for plural, kind in KINDS.items():
    body = {"apiVersion": "ipam.dotmac.io/v1alpha1", "kind": kind, "metadata": {"name": NAME}, "spec": SPECS[plural]}
    ask("POST", plural, body=body)
print(f"claimed {until('an address', address)}", flush=True)
clear()
print("released", flush=True)
