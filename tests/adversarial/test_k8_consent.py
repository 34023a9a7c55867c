"""K8: a tenant that does not exist, or whose consent was withdrawn (Gateway API's rule for references)."""

import pytest

from ipam_operator.domain.model import Consent
from ipam_operator.domain.outcome import Reason
from tests.support.store import Store, claim, granted, only

BY_LABEL = Consent("Selector", {"matchLabels": {"tier": "front"}})


@pytest.mark.parametrize("consent", [Consent(), BY_LABEL])
async def test_k8_an_unknown_namespace_is_refused(database_url: str, consent: Consent) -> None:
    """A refusal in words, no fault, and nothing held or in the pool's way."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", allowed=consent)
        refusal = only(await store.ask(claim(of, namespace="nowhere")))
        assert refusal.reason is Reason.TENANT_ISOLATION
        assert "nowhere" in refusal.message
        assert await store.held() == {}
        assert await store.waiting(of) == []


async def test_k8_withdrawn_consent_keeps_what_is_held(database_url: str) -> None:
    """Leases stay and are reported, for a namespace that is gone as well; a renewed request gets no second address."""
    async with Store(database_url) as store:
        await store.tenants(guest={"tier": "front"})
        of = await store.pool("10.0.0.0/29", allowed=BY_LABEL)
        held, late = claim(of, namespace="guest"), claim(of, namespace="guest")
        await store.ask(held)
        await store.tenants(guest=None)
        assert (await store.count(of)).unlent == {"guest": 1}
        assert only(await store.ask(held, late)).subject == late.identity
        assert len(await store.held()) == 1
        await store.release(held)
        assert (await store.count(of)).unlent == {}
        assert granted(await store.serve(of, tell=True)) == {}
