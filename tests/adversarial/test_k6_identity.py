"""Identities of claims that come again."""

from dataclasses import replace

from ipam_operator.domain.model import ClaimDetail, ClaimRequest, Consent, ObjectRef, PoolRequest
from tests.support.store import Store, claim, granted

#: Every way to read these as namespace and key: joined with or without a separator, many of them look the same.
WORDS = ("dev1web", "dev/1web", "dev-1-web", "dev:1:web", "dev1/web/")
PAIRS = sorted({(word[:cut], word[cut:]) for word in WORDS for cut in range(1, len(word))})


def known_as(of: PoolRequest, namespace: str, key: str) -> ClaimRequest:
    """A claim with a sticky key in some namespace."""
    anyone = claim(of)
    who = replace(anyone.identity, ref=ObjectRef(namespace, anyone.identity.ref.name))
    return replace(anyone, identity=who, detail=ClaimDetail(sticky_key=key))


async def test_k6_identities_are_pairs_that_are_never_joined(database_url: str) -> None:
    """What one (namespace, key) had goes back to that very pair, whatever others spell the same when joined."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", cool_down=3600, allowed=Consent("All"))
        first = {pair: known_as(of, *pair) for pair in PAIRS}
        had = granted(await store.allocate(of, list(first.values())))
        await store.release(*first.values())
        again = {pair: known_as(of, *pair) for pair in reversed(PAIRS)}
        got = granted(await store.allocate(of, list(again.values())))
        for pair in PAIRS:
            assert got[again[pair].identity.uid] == had[first[pair].identity.uid], pair
        assert len(PAIRS) == len(set(had.values())) > 30
