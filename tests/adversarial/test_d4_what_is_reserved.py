"""Row D4: what is kept back can be neither taken nor given back."""

from ipam_operator.domain.outcome import Reason
from tests.support.store import Store, claim, claims, refused, texts

KEPT = ("10.0.0.0", "10.0.0.1", "10.0.0.5", "10.0.0.10", "10.0.0.15")
"""Network address, gateway, reserved, excluded and broadcast address."""


async def test_d4_reserved_addresses_are_never_handed_out(database_url: str) -> None:
    """Network, gateway, reserved, excluded and broadcast addresses are refused by name, before and after a release."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/28", gateway="10.0.0.1", reserved=["10.0.0.5"])
        of = await store.pool(parent, exclude=["10.0.0.10"])
        for _ in range(2):
            wishes = [claim(of, wanted=text) for text in KEPT]
            no = refused(await store.allocate(of, wishes))
            assert [no[one.identity.uid].reason for one in wishes] == [Reason.OUTSIDE_POOL] * len(KEPT)
            await store.release(*wishes)
            everything = claims(of, 11)
            got = texts(await store.allocate(of, everything))
            assert len(got) == 11
            assert not set(KEPT) & set(got)
            await store.release(*everything)
            await store.sweep(of)
        await store.assert_tiled(parent, of)
