"""Which leases are renewed for an object, and which are not any more. Pure."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from ipam_operator.domain.model import ClaimRequest, Renewable
from ipam_operator.domain.outcome import Reason, Refused

Names = frozenset[tuple[str, str]]
"""Namespace and name of every object of a kind."""


def not_looked_at(request: ClaimRequest, kinds: frozenset[str]) -> Refused | None:
    """The refusal of a claim that is to be renewed for an object of a kind that the operator does not look at."""
    detail = request.detail
    if (
        detail is None
        or not detail.auto_renew
        or detail.resource is None
        or detail.resource.group_version_kind in kinds
    ):
        return None
    known = f"at {', '.join(sorted(kinds))} only" if kinds else "at no kind"
    message = (
        f"spec.autoRenew: the operator looks {known}, not at {detail.resource.group_version_kind} (its setting"
        " IPAM_RENEW_KINDS, and a role to list them); ask its administrators, or renew by spec.renewedAt"
    )
    return Refused(request.identity, Reason.INVALID_SPEC, message)


class Sightings:
    """What was seen of objects. One counts as gone when it was missed in two looks, one after the other.

    Half of the term is left at the first, so that there is time for a second.
    """

    def __init__(self) -> None:
        self._missed: frozenset[UUID] = frozenset()
        self._told: frozenset[UUID] = frozenset()

    def look(
        self, leases: Iterable[Renewable], seen: Mapping[str, Names | None]
    ) -> tuple[list[Renewable], list[Renewable]]:
        """Those to renew now, and those that are not any more since this look.

        `seen` has the objects of each kind; None: nobody knows, and then none is gone.
        """
        missed = set[UUID]()
        gone, alive = list[Renewable](), list[Renewable]()
        for lease in leases:
            names = seen[lease.resource.group_version_kind]
            if names is None or (lease.claim.ref.namespace, lease.resource.name) in names:
                alive.append(lease)
                continue
            missed.add(lease.claim.uid)
            if lease.claim.uid in self._missed:
                gone.append(lease)
        news = [lease for lease in gone if lease.claim.uid not in self._told]
        self._missed, self._told = frozenset(missed), frozenset(lease.claim.uid for lease in gone)
        return alive, news
