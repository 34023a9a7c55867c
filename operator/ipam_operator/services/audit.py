"""The conflict audit of networks: report first, and only what two observations have seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from ipam_operator.domain.findings import SEVERITY, Finding
from ipam_operator.store.audit import Audit


@dataclass(frozen=True, slots=True)
class Report:
    """Of one network: what two observations agree on, and what the next must decide."""

    network: UUID
    confirmed: tuple[Finding, ...]
    suspected: int


class ConflictAudit:
    """Remembers the last observation of each network."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._before: dict[UUID, frozenset[Finding]] = {}

    async def compare(self, shown: Mapping[UUID, str], *, settled_seconds: float) -> list[Finding]:
        """What claims and ledger disagree on; one comparison serves the audits of many networks."""
        found = await self._audit.compare(shown, settled_seconds=settled_seconds)
        return [one for one in found if one.type in SEVERITY]

    async def run_once(
        self, networks: Sequence[UUID], compared: Sequence[Finding], claims: Mapping[UUID, UUID]
    ) -> list[Report]:
        """Audit networks.

        Args:
            networks: those that are due.
            compared: from `compare`.
            claims: claim -> network, for findings that the store cannot place.
        """
        seen: dict[UUID, set[Finding]] = {network: set() for network in networks}
        for one in [*await self._audit.untiled(networks), *compared]:
            network = one.network or claims.get(one.claim_uid or UUID(int=0))
            if network in seen:
                seen[network].add(one)
        reports = []
        for network, found in seen.items():
            before = self._before.get(network, frozenset())
            confirmed = tuple(sorted(found & before, key=lambda one: (one.type.value, one.addresses)))
            reports.append(Report(network, confirmed, len(found - before)))
            self._before[network] = frozenset(found)
        return reports

    def forget(self, network: UUID) -> None:
        """The network is gone."""
        self._before.pop(network, None)
