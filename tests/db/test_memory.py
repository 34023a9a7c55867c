"""Claims that come again, and the addresses that they had."""

from datetime import timedelta
from ipaddress import ip_address

import pytest

from ipam_operator.domain.answers import Served
from ipam_operator.domain.model import PoolRequest, Strategy
from ipam_operator.domain.outcome import Granted, Reason
from tests.support.store import Store, claim, claims, granted, only, pool, texts

HOUR = 3600.0


async def again(store: Store, of: PoolRequest, name: str, *, number: int = 1, key: str = "") -> list[str]:
    """The addresses of a claim of this name that is made anew."""
    return texts(await store.allocate(of, [claim(of, name=name, count=number, key=key)]))


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_a_claim_made_anew_gets_its_address_back(database_url: str, strategy: Strategy) -> None:
    """Deleted and applied again, also before its address has cooled, a claim has the same address."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", strategy=strategy, cool_down=HOUR)
        first, second = claim(of, name="a"), claim(of, name="b")
        had = texts(await store.allocate(of, [first, second]))
        await store.release(first, second)
        assert await again(store, of, "b") == had[1:]
        assert await again(store, of, "a") == had[:1]
        assert await store.untiled() == []
        await store.assert_history_is_ledger()


async def test_a_batch_mixes_old_acquaintances_and_new_ones(database_url: str) -> None:
    """Among new claims, those that come again find what they had, whatever their place in the batch."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        known = [claim(of, name=f"known-{k}") for k in range(3)]
        await store.allocate(of, known)
        await store.release(*known)
        asked = [claim(of), *(claim(of, name=one.identity.ref.name) for one in reversed(known)), claim(of, count=2)]
        got = granted(await store.allocate(of, asked))
        assert [[str(address)[7:] for address in got[one.identity.uid]] for one in asked] == [
            ["4"], ["3"], ["2"], ["1"], ["5", "6"],
        ]  # fmt: skip
        assert await store.untiled() == []


async def test_what_is_remembered_is_a_wish_and_no_hold(database_url: str) -> None:
    """An address that has cooled goes to whoever needs it; its old holder then gets another one."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        old = claim(of, name="old")
        assert texts(await store.allocate(of, [old])) == ["10.0.0.1"]
        await store.release(old)
        assert await again(store, of, "new") == ["10.0.0.1"]
        assert await again(store, of, "old") == ["10.0.0.2"]


async def test_what_cools_from_another_is_not_given_back(database_url: str) -> None:
    """While an address cools from its last holder, one who held it earlier must wait like everybody."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", cool_down=HOUR)
        early = claim(of, name="early")
        await store.allocate(of, [early])
        await store.release(early)
        await store.sql("update ipam.lease set reusable_at = now()")
        late = claim(of, name="late")
        assert texts(await store.allocate(of, [late])) == ["10.0.0.1"]
        await store.release(late)
        assert await again(store, of, "early") == ["10.0.0.2"]


async def test_of_several_addresses_each_comes_back_that_can(database_url: str) -> None:
    """Of three addresses two come back where they were, and the lost one is replaced."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        three = claim(of, name="three", count=3)
        await store.allocate(of, [three])
        await store.release(three)
        await store.allocate(of, [claim(of, wanted="10.0.0.2")])
        assert await again(store, of, "three", number=3) == ["10.0.0.1", "10.0.0.3", "10.0.0.4"]
        assert await store.untiled() == []


async def test_too_few_addresses_leave_all_as_it_was(database_url: str) -> None:
    """A claim that comes again for more than there is takes nothing, not even what it had."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        two = claim(of, name="two", count=2)
        await store.allocate(of, [two])
        await store.release(two)
        await store.allocate(of, [claim(of, wanted=f"10.0.0.{host}") for host in range(2, 7)])
        assert only(await store.allocate(of, [claim(of, name="two", count=2)])).reason is Reason.POOL_EXHAUSTED
        assert (await store.count(of)).free == 1
        assert await store.untiled() == []


async def test_those_who_wait_are_remembered_too(database_url: str) -> None:
    """Claims that queue for a pool that is not there yet get the addresses that they had in the one before."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24")
        of = await store.pool(parent)
        names = ["c", "a", "b"]
        before = [claim(of, name=name) for name in names]
        had = dict(zip(names, texts(await store.allocate(of, before)), strict=True))
        await store.release(*before)
        await store.retire(of)
        for name in reversed(names):
            assert only(await store.allocate(of, [claim(of, name=name)])).reason is Reason.POOL_NOT_FOUND
        anew = await store.pool(parent, name=of.identity.ref.name)
        served = await store.serve(anew)
        assert sorted(texts(served)) == sorted(had.values())
        rows = await store.sql("select name, host(addr) addr from ipam.lease where released_at is null")
        assert {row["name"]: row["addr"] for row in rows} == had


async def test_a_sticky_key_goes_before_the_name(database_url: str) -> None:
    """A claim under another name, with the key of an earlier one, has its address; the name does not count then."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", cool_down=HOUR)
        first = claim(of, name="web-x7k2", key="web/0")
        assert texts(await store.allocate(of, [first])) == ["10.0.0.1"]
        await store.release(first)
        assert await again(store, of, "web-x7k2") == ["10.0.0.2"]
        assert await again(store, of, "web-p4r9", key="web/0") == ["10.0.0.1"]


async def test_who_shares_a_key_is_told(database_url: str) -> None:
    """Of live claims with one key the first keeps its address; the others get their own and learn of the first."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        first, second, third = (claim(of, name=name, key="web") for name in ("a", "b", "c"))
        told = [
            [one.shares_key_with for one in (await store.allocate(of, asked)).outcomes if isinstance(one, Granted)]
            for asked in ([first], [second], [third, claim(of, name="d", key="other"), claim(of, key="other")])
        ]
        assert told == [[None], ["a"], ["a", None, "d"]]
        assert len({address for held in (await store.held()).values() for address in held}) == 5
        await store.release(first, second, third)
        (alone,) = (await store.allocate(of, [claim(of, key="web")])).outcomes
        assert isinstance(alone, Granted)
        assert alone.shares_key_with is None


async def test_who_waited_is_told_of_a_shared_key_as_well(database_url: str) -> None:
    """A claim that gets its address from the queue learns whose key it has, like any other."""
    async with Store(database_url) as store:
        of = await store.pool(await store.network("10.0.0.0/24"), "10.0.0.5-10.0.0.6")
        first, other, waiter = claim(of, name="a", key="web"), claim(of), claim(of, key="web")
        await store.allocate(of, [first, other])
        await store.allocate(of, [waiter])
        await store.release(other)
        (served,) = (await store.serve(of)).outcomes
        assert isinstance(served, Granted)
        assert served.shares_key_with == "a"


async def test_a_named_address_comes_back_while_it_cools(database_url: str) -> None:
    """A claim for this very address, made anew, has it at once; another one must wait until it has cooled."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", cool_down=HOUR)
        mine = claim(of, name="mine", wanted="10.0.0.80")
        await store.allocate(of, [mine])
        await store.release(mine)
        stranger = claim(of, name="stranger", wanted="10.0.0.80")
        assert only(await store.allocate(of, [stranger])).reason is Reason.ADDRESS_CONFLICT
        await store.release(stranger)
        assert texts(await store.allocate(of, [claim(of, name="mine", wanted="10.0.0.80")])) == ["10.0.0.80"]
        assert await store.untiled() == []


async def test_what_claims_show_is_kept_for_them_until_their_pool_is_there(database_url: str) -> None:
    """In a store that has lost all, claims before their pool do not queue: with it they have what they show."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24")
        missing = pool(parent)
        mine = claim(missing)
        asked = [(mine, [ip_address("10.0.0.9")])]
        assert only(await store.claims.adopt(missing.identity.ref, asked)).reason is Reason.POOL_NOT_FOUND
        assert await store.waiting(missing) == []
        of = await store.pool(parent, name=missing.identity.ref.name)
        assert await store.claims.serve(of.identity.ref) == Served(())
        assert texts(await store.claims.adopt(of.identity.ref, asked)) == ["10.0.0.9"]


async def test_memory_ends(database_url: str) -> None:
    """What nobody has asked for within its time is forgotten."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", cool_down=HOUR)
        old, young = claim(of, name="old"), claim(of, name="young")
        await store.allocate(of, [old, young])
        await store.release(old, young)
        await store.sql("update ipam.memory set at = now() - interval '31 days' where key = 'old'")
        await store.ownership.tidy(timedelta(days=30))
        assert await again(store, of, "old") == ["10.0.0.3"]
        assert await again(store, of, "young") == ["10.0.0.2"]


async def test_new_claims_pay_nothing_for_it(database_url: str) -> None:
    """A single claim that nobody remembers writes what it wrote before: one lease, one history row, one free range."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        await store.allocate(of, claims(of, 1))
        wrote = {
            table: await store.value(f"select count(*) from ipam.{table}")
            for table in ("lease", "history", "free_range", "memory", "term", "claim_detail")
        }
        assert wrote == {"lease": 1, "history": 1, "free_range": 1, "memory": 0, "term": 0, "claim_detail": 0}
