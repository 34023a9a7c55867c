"""Very long queues: what cannot be served is not looked at, and nobody is overlooked for it."""

from collections.abc import AsyncIterator
from ipaddress import ip_address

import pytest
import pytest_asyncio

from ipam_operator.domain.model import ClaimRequest, Consent, PoolRequest
from tests.support.store import Store, claim, granted, texts

WISHES_THAT_ARE_FEW = 9
"""`ipam.wishes_due` looks through who names an address when they are fewer than ten, or fewer than what is free."""
KEYS_THAT_ARE_MANY = 1001
"""`ipam.comers` looks through who waits when more than a thousand addresses are kept."""
SIZES_THAT_ARE_MANY = 65
"""`ipam.head_of_queue` reads the queue in order when more than 64 pairs of namespace and number wait."""


@pytest_asyncio.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with Store(database_url) as opened:
        yield opened


def address(k: int) -> str:
    return str(ip_address("10.0.0.0") + k)


@pytest.mark.parametrize("wishes", [WISHES_THAT_ARE_FEW, 40])
@pytest.mark.parametrize("holes", [0, 80], ids=["full", "fragmented"])
async def test_a_named_address_goes_to_who_names_it(store: Store, wishes: int, holes: int) -> None:
    """Whichever way the two are compared: when an address is free or has cooled, or cools from the very claim."""
    net = await store.network("10.0.0.0/22")
    of = await store.pool(net, "10.0.1.0-10.0.1.199", cool_down=3600)
    held = [claim(of, wanted=address(256 + k)) for k in range(200) if k >= 2 * holes or k % 2 == 0]
    assert len(granted(await store.allocate(of, held))) == len(held)
    by_address = {str(one.wanted): one for one in held}
    wished = [claim(of, wanted=str(held[-1 - k].wanted)) for k in range(wishes)]
    assert granted(await store.allocate(of, wished)) == {}
    free, cools = wished[3], wished[-1]
    again = claim(of, wanted=str(cools.wanted), name=by_address[str(cools.wanted)].identity.ref.name)
    await store.release(by_address[str(free.wanted)], by_address[str(cools.wanted)])
    assert granted(await store.serve(of)) == {}, "both cool"
    assert texts(await store.ask(again)) == [str(cools.wanted)], "from itself"
    await store.cooled(of)
    assert list(granted(await store.serve(of))) == [free.identity.uid]
    await store.assert_tiled()


@pytest.mark.parametrize("tenants", [3, SIZES_THAT_ARE_MANY])
async def test_who_exceeds_its_quota_is_passed_until_it_does_not(store: Store, tenants: int) -> None:
    """Of many that ask for more than their namespaces may have, each is served as soon as it may."""
    of = await lent(store, "10.0.0.0/20", quota=4)
    names = [f"tenant-{k}" for k in range(tenants)]
    first = [claim(of, namespace=name, count=2) for name in names]
    assert len(granted(await store.allocate(of, first))) == tenants
    waiting = [claim(of, namespace=name, count=3) for name in names for _ in range(2)]
    assert granted(await store.allocate(of, waiting)) == {}
    small = claim(of, namespace=names[1], count=2)
    assert list(granted(await store.ask(small))) == [small.identity.uid], "which fits, behind those that do not"
    assert granted(await store.ask(claim(of, namespace=names[1]))) == {}, "now it is full up"
    await store.release(first[2])
    assert list(granted(await store.serve(of))) == [waiting[4].identity.uid], "the first of the two"
    await store.assert_tiled()


@pytest.mark.parametrize("kept", [2, KEYS_THAT_ARE_MANY])
async def test_what_is_kept_is_found_again(store: Store, kept: int) -> None:
    """By the name or by the sticky key, past a queue that waits, however much is kept for others."""
    of = await store.pool("10.0.0.0/20")
    gone = [claim(of, retain=True, key="" if k % 2 else f"key-{k}") for k in range(kept)]
    before = granted(await store.allocate(of, gone))
    rest = await store.take(of, 1, count=(await store.count(of)).free - 1)
    waiting = claim(of, count=2)
    assert granted(await store.ask(waiting)) == {}
    await store.release(*gone)
    by_key, by_name = (comes_again(of, one) for one in gone[:2])
    served = granted(await store.ask(by_key, by_name))
    assert list(served.values()) == [before[one.identity.uid] for one in gone[:2]]
    await store.release(*rest)
    await store.cooled(of)
    assert waiting.identity.uid in granted(await store.serve(of))
    await store.assert_tiled()


def comes_again(of: PoolRequest, gone: ClaimRequest) -> ClaimRequest:
    assert gone.detail is not None
    return claim(of, key=gone.detail.sticky_key, name=None if gone.detail.sticky_key else gone.identity.ref.name)


async def lent(store: Store, cidr: str, *, quota: int) -> PoolRequest:
    return await store.pool(cidr, quota=quota, allowed=Consent("All"))
