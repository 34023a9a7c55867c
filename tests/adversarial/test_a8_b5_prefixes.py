"""Rows A8 and B5: prefixes as long as what they are of, and prefixes over what is held already."""

import pytest

from ipam_operator.domain.model import Prefixes
from ipam_operator.domain.outcome import Reason
from tests.support.store import Store, claim, only, texts


@pytest.mark.parametrize("cidr", ["10.0.0.4/30", "10.0.0.1/32", "2001:db8::/64", "2001:db8::1/128"])
async def test_a8_a_prefix_of_its_own_length(database_url: str, cidr: str) -> None:
    """It goes out once, is refused to the next claim, and goes out again when it has come back."""
    length = int(cidr.rpartition("/")[2])
    async with Store(database_url) as store:
        net = await store.network(cidr)
        of = await store.pool(net, prefixes=Prefixes((length,), length))
        first, second = claim(of, length=length), claim(of, length=length)
        assert texts(await store.ask(first)) == [cidr]
        assert only(await store.ask(second)).reason is Reason.POOL_EXHAUSTED
        assert only(await store.ask(second)).reason is Reason.POOL_EXHAUSTED
        await store.release(first)
        assert texts(await store.serve(of)) == [cidr]
        await store.assert_tiled(net, of)


async def test_b5_hosts_before_subnets(database_url: str) -> None:
    """With single addresses held, whoever asks for what covers them gets something else, or nothing."""
    async with Store(database_url) as store:
        net = await store.network("10.0.0.0/24")
        of = await store.pool(net, prefixes=Prefixes((24, 25, 32), 32))
        hosts = [claim(of, length=32), claim(of, length=32, wanted="10.0.0.200")]
        await store.allocate(of, hosts)
        assert only(await store.ask(claim(of, length=24))).reason is Reason.POOL_EXHAUSTED
        over = only(await store.ask(claim(of, length=25, wanted="10.0.0.128")))
        assert over.reason is Reason.ADDRESS_CONFLICT
        assert over.message.startswith("10.0.0.200/32, which overlaps 10.0.0.128/25, is held by")
        await store.assert_tiled(net, of)


async def test_b5_hosts_of_another_pool(database_url: str) -> None:
    """A pool of prefixes cannot be put over addresses that another pool hands out, wherever they are."""
    async with Store(database_url) as store:
        net = await store.network("10.0.0.0/24")
        hosts = await store.pool(net, "10.0.0.40-10.0.0.41")
        assert texts(await store.ask(claim(hosts))) == ["10.0.0.40"]
        of = await store.pool(net, "10.0.0.0-10.0.0.39", "10.0.0.42-10.0.0.255", prefixes=Prefixes((25, 26), 26))
        assert texts(await store.ask(claim(of, length=25))) == ["10.0.0.128/25"]
        assert texts(await store.ask(claim(of, length=26))) == ["10.0.0.64/26"]
        assert only(await store.ask(claim(of, length=26))).reason is Reason.POOL_EXHAUSTED
        await store.assert_tiled(net, of, hosts)
