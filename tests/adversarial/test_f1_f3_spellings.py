"""Rows F1, F2 and F3: one host, one spelling, one key, at apply, in Python and in the store."""

import re
from collections.abc import Callable
from importlib import resources
from ipaddress import IPv6Address, ip_address
from typing import Any

import asyncpg
import pytest

from ipam_operator.api import v1alpha1
from ipam_operator.domain.model import NetworkRequest, PoolRequest
from ipam_operator.domain.outcome import Accepted, Reason
from ipam_operator.net.cidr import Address, parse_address, parse_network
from tests.support.cluster import Api, ApiError, thing
from tests.support.store import Store, claim, claims, granted, identity, only

OTHER_KEYS = [
    "::ffff:10.0.0.1", "::FFFF:10.0.0.1", "::ffff:a00:1", "0:0:0:0:0:ffff:a00:1", "fe80::1%eth0", "fe80::1%25eth0",
]  # fmt: skip
"""IPv4-mapped addresses and zones: F1."""
MISREAD = [
    "10.0.0.010", "010.0.0.10", "10.0.0.08", "10.1", "167772161", "0xa.0.0.1", "10.0.0.1 ", " 10.0.0.1",
    "1\uff10.0.0.1", "10.0.0.1/24",
]  # fmt: skip
"""What one parser takes for another address than the next, or than a reader: F2."""
LOOSE = [
    "2001:DB8::1", "2001:db8:0::1", "2001:0db8::1", "2001:db8::0001", "2001:db8:0:0:0:0:0:1", "2001:db8::0.0.0.1",
    "2001:db8:0:0::1",
]  # fmt: skip
"""2001:db8::1: F3."""
CASTS = re.compile(r"(\w+\([^()]*\)|'[^']*'|[$\w]+)::(?:inet|cidr)\b|cast\s*\(|\b(?:inet|cidr)\s+'", re.IGNORECASE)
HARMLESS = re.compile(r"'[0-9a-f.:]+'|null|\$\d+|(?:network|broadcast)\(new_cidr\)")
"""Literals of our own, parameters, which are bound as values, and what is an address already."""


def of_network(cidr: str, **spec: Any) -> tuple[str, dict[str, Any]]:
    return "IPNetwork", {"cidr": cidr, **spec}


def of_pool(**spec: Any) -> tuple[str, dict[str, Any]]:
    return "IPPool", {"networkRef": {"name": "net"}, **spec}


def fields(family: int) -> dict[str, Callable[[str], tuple[str, dict[str, Any]]]]:
    """Wherever an object can name an address."""
    cidr, low = ("10.0.0.0/8", "10.0.0.0") if family == 4 else ("2001:db8::/32", "2001:db8::")
    length = 32 if family == 4 else 128
    return {
        "cidr": lambda text: of_network(f"{text}/{length}"),
        "gateway": lambda text: of_network(cidr, gateway=text),
        "dnsServers": lambda text: of_network(cidr, dnsServers=[text]),
        "reserved": lambda text: of_network(cidr, reserved=[text]),
        "ranges": lambda text: of_pool(ranges=[text]),
        "ranges to": lambda text: of_pool(ranges=[f"{low}-{text}"]),
        "ranges of": lambda text: of_pool(ranges=[f"{text}/{length}"]),
        "exclude": lambda text: of_pool(exclude=[text]),
        "address": lambda text: ("IPClaim", {"poolRef": {"name": "pool"}, "address": text}),
    }


async def taken(api: Api, text: str) -> dict[str, str]:
    """Fields where the API server takes this spelling, or refuses it for something else."""
    found = {}
    for name, of in fields(6 if ":" in text else 4).items():
        if "/" in text and name in {"cidr", "reserved", "ranges", "ranges of", "exclude"}:
            continue  # a CIDR is right there; its host bits are row B3
        kind, spec = of(text)
        try:
            await api.create(thing(kind, "default", "spelled", spec), dry_run=True)
            found[name] = "taken"
        except ApiError as refusal:
            if refusal.code != 422 or f"spec.{name.split()[0]}" not in str(refusal):
                found[name] = str(refusal)
    return found


@pytest.mark.parametrize("text", ["10.0.0.10", "2001:db8::1"])
async def test_f3_the_canonical_spelling_is_taken_at_apply(api: Api, text: str) -> None:
    """Every field of every kind takes it: what the others are refused for is their spelling."""
    assert await taken(api, text) == dict.fromkeys(fields(4), "taken")


@pytest.mark.parametrize("text", OTHER_KEYS)
async def test_f1_another_key_for_a_host_is_refused_at_apply(api: Api, text: str) -> None:
    """No field of any kind takes an IPv4-mapped address or a zone, and the refusal names the field."""
    assert await taken(api, text) == {}


@pytest.mark.parametrize("text", MISREAD)
async def test_f2_what_parsers_read_differently_is_refused_at_apply(api: Api, text: str) -> None:
    """No field of any kind takes leading zeros, short or other forms of IPv4, blanks, foreign digits or a mask."""
    assert await taken(api, text) == {}


@pytest.mark.parametrize("text", LOOSE)
async def test_f3_other_spellings_are_refused_at_apply(api: Api, text: str) -> None:
    """No field of any kind takes another spelling than the canonical one, and a claim is told that one."""
    assert await taken(api, text) == {}
    with pytest.raises(ApiError, match="must be written as 2001:db8::1"):
        await api.create(
            thing("IPClaim", "default", "spelled", {"poolRef": {"name": "pool"}, "address": text}), dry_run=True
        )


@pytest.mark.parametrize("text", [*OTHER_KEYS, *MISREAD, *LOOSE])
def test_f1_f2_f3_python_refuses_what_the_api_server_does(text: str) -> None:
    """Behind an API server without our rules, Python refuses the same spellings."""
    with pytest.raises(ValueError, match="must be"):
        parse_address(text)
    if "/" not in text:
        with pytest.raises(ValueError, match="must be"):
            parse_network(f"{text}/{128 if ':' in text else 32}")


async def given(store: Store, cidr: str, number: int) -> list[Address]:
    """What claims get next to ::ffff:0:0/96 in a network that is written like this; nothing when that is refused."""
    parent = v1alpha1.network_request(identity(), {"cidr": cidr})
    if not isinstance(parent, NetworkRequest) or not isinstance(await store.networks.apply(parent), Accepted):
        return []
    spec = {
        "networkRef": {"name": parent.identity.ref.name},
        "exclude": [f"{cidr.split('/', maxsplit=1)[0]}-::fffe:ffff:ffff"],
        "coolDown": "0s",
    }
    of = v1alpha1.pool_request(identity(), spec, {})
    if not isinstance(of, PoolRequest) or not isinstance(await store.pools.apply(of), Accepted):
        return []
    served = await store.allocate(of, claims(of, number))
    return [address for some in granted(served).values() for address in some]


@pytest.mark.parametrize("cidr", ["::fffe:0:0/95", "::/64", "::/0"])
async def test_f1_no_network_leads_to_a_mapped_address(database_url: str, cidr: str) -> None:
    """A prefix that covers ::ffff:0:0/96, which no claim may name, hands none of it out by free choice either."""
    async with Store(database_url) as store:
        got = await given(store, cidr, 3)
        assert [str(one) for one in got if isinstance(one, IPv6Address) and one.ipv4_mapped is not None] == []


async def test_f2_postgresql_never_reads_an_address(database_url: str) -> None:
    """PostgreSQL would read 10.0.0.010 as .10: addresses are bound as values, and no statement casts text."""
    async with Store(database_url) as store:
        assert await store.value("select '10.0.0.010'::inet = '10.0.0.10'::inet")
        with pytest.raises(asyncpg.DataError, match="does not appear to be"):  # the driver encodes what Python reads
            await store.value("select $1::inet", "10.0.0.010")
        assert await store.value("select $1::inet", ip_address("10.0.0.10")) == ip_address("10.0.0.10")


def test_f2_no_statement_casts_text() -> None:
    """No statement or function of ours turns text into an address."""
    found = [
        (file.name, match[0], match[1] or "")
        for folder in ("sql", "migrations")
        for file in resources.files(f"ipam_operator.store.{folder}").iterdir()
        if file.name.endswith(".sql")
        for match in CASTS.finditer(file.read_text())
    ]
    assert len(found) > 20
    assert [(name, cast) for name, cast, what in found if not HARMLESS.fullmatch(what)] == []


async def test_f3_every_spelling_finds_the_one_row(database_url: str) -> None:
    """Whoever spells an address otherwise in Python meets its holder, and gets it after a release."""
    async with Store(database_url) as store:
        of = await store.pool("2001:db8::/64")
        for taken, wanted in zip(LOOSE, [*LOOSE[1:], LOOSE[0]], strict=True):
            holder, other = claim(of, wanted=taken), claim(of, wanted=wanted)
            assert granted(await store.allocate(of, [holder])) == {holder.identity.uid: (ip_address("2001:db8::1"),)}
            assert only(await store.allocate(of, [other])).reason is Reason.ADDRESS_CONFLICT
            shown = {holder.identity.uid: "2001:db8::1", other.identity.uid: ""}
            assert await store.audit.compare(shown, settled_seconds=0) == []
            await store.release(holder, other)
            await store.sweep(of)
        await store.assert_tiled()
