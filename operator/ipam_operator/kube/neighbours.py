"""Who waits for whom: pools for their network, claims for their pool, overlapping objects for each other's end."""

from ipam_operator.domain.model import ObjectRef
from ipam_operator.domain.outcome import Reason
from ipam_operator.kube.claims import ClaimReconciler
from ipam_operator.kube.counters import CounterTimer
from ipam_operator.kube.inbox import Item
from ipam_operator.kube.parents import Known, ParentReconciler, network_of


def connect(
    networks: ParentReconciler, pools: ParentReconciler, claims: ClaimReconciler, counters: CounterTimer
) -> None:
    """Wire the reconcilers; every nudge is a courtesy that the resync would make up for."""

    def network_changed(item: Item) -> None:
        ref = item.identity.ref
        pools.nudge(lambda known: known.item.identity.ref.namespace == ref.namespace and network_of(known) == ref.name)
        counters.due.mark(item.uid)

    def network_removed(item: Item) -> None:
        networks.nudge(lambda known: _refused_in(known, item.identity.ref.namespace))

    def pool_accepted(item: Item) -> None:
        counters.due.mark(item.uid)
        claims.serve(item.identity.ref, tell=True)
        # It may have shrunk, and left what a sibling asks for.
        network = network_of(Known(item, {}))
        namespace = item.identity.ref.namespace
        pools.nudge(lambda known: _refused_in(known, namespace) and network_of(known) == network)

    def pool_refused(item: Item) -> None:
        claims.serve(item.identity.ref, tell=True)

    def pool_removed(item: Item) -> None:
        namespace = item.identity.ref.namespace
        networks.nudge(lambda known: known.item.dying and known.item.identity.ref.namespace == namespace)
        pools.nudge(lambda known: _refused_in(known, namespace))
        counters.forget(item.identity.ref)
        claims.serve(item.identity.ref, tell=True)
        network = networks.find(ObjectRef(namespace, network_of(Known(item, {}))))
        if network is not None:
            counters.due.mark(network.item.uid)

    def lease_ended(pool: ObjectRef) -> None:
        pools.nudge(lambda known: known.item.dying and known.item.identity.ref == pool)

    networks.tell.accepted = network_changed
    networks.tell.refused = network_changed
    networks.tell.removed = network_removed
    pools.tell.accepted = pool_accepted
    pools.tell.refused = pool_refused
    pools.tell.removed = pool_removed
    claims.on_release = lease_ended


def _refused_in(known: Known, namespace: str) -> bool:
    reason = known.status.get("reason")
    return known.item.identity.ref.namespace == namespace and reason not in {None, Reason.READY.value}
