"""One address, one spelling: PostgreSQL's host() and Python differ in ::/96."""

from ipaddress import ip_address

from ipam_operator.domain.outcome import Reason
from tests.support.store import Store, claim, claims, only, texts

SPELLINGS = [
    "::", "::1", "::ffff", "::1:0", "::5:1", "::a00:1", "::ffff:ffff", "::1:0:0", "1::", "2001:db8::1:0:0:1",
    "2001:db8:0:1:1:1:1:1", "64:ff9b::a00:1", "0.0.0.1", "10.0.0.1", "255.255.255.255",
]  # fmt: skip


async def test_the_store_spells_as_python_does(database_url: str) -> None:
    """What the store writes into messages and comparisons is what a status shows."""
    async with Store(database_url) as store:
        addresses = [ip_address(text) for text in SPELLINGS]
        rows = await store.sql("select ipam.spelled(a) from unnest($1::inet[]) a", addresses)
        assert [row[0] for row in rows] == SPELLINGS


async def test_a_pool_in_the_lowest_addresses_of_ipv6(database_url: str) -> None:
    """Refusals, effective ranges and the comparison with the cluster work where host() writes an IPv4 tail."""
    async with Store(database_url) as store:
        of = await store.pool(await store.network("::5:0/112"), "::5:1-::5:3")
        (held,) = await store.take(of, 1)
        assert (await store.count(of)).ranges == ("::5:1-::5:3",)
        assert await store.audit.compare({held.identity.uid: "::5:1"}, settled_seconds=0) == []
        exhausted = only(await store.allocate(of, claims(of, 1, count=3)))
        assert exhausted.reason is Reason.POOL_EXHAUSTED
        assert "2 free, largest free block ::5:2/127" in exhausted.message
        taken = only(await store.allocate(of, [claim(of, wanted="::5:1")]))
        assert "free near it: ::5:2" in taken.message
        assert texts(await store.allocate(of, [claim(of, wanted="::5:3")])) == ["::5:3"]
