"""K3: one bad claim blocks the rest of its pool (m3#988)."""

from tests.apiserver.support import Launch, Ledger, Tenant

POISON = """
create function ipam.poison() returns trigger language plpgsql as $$ begin
    if new.name = 'poison' then raise exception 'poisoned'; end if;
    return new;
end $$;
create trigger poison before insert on ipam.lease for each row execute function ipam.poison();
"""


async def test_k3_others_are_bound(place: Tenant, books: Ledger, launch: Launch) -> None:
    """A claim that no statement survives holds up none of 999 others; cured, it is bound by itself."""
    process = launch({"IPAM_RESYNC_SECONDS": "2", "IPAM_POOL_TIMER_SECONDS": "1"})
    await books.execute(POISON)
    await place.space("10.0.0.0/22")
    await place.claim("poison")
    others = [f"c{number}" for number in range(999)]
    await place.claims(others)
    await place.bound(*others)
    assert "name='poison'" in process.log()
    assert "poison" not in await books.held(place.namespace)
    await books.execute("drop trigger poison on ipam.lease")
    await place.bound("poison")
    await books.distinct(place.namespace)
