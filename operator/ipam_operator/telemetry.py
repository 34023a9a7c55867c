"""Metric objects, with bounded labels: per pool at the most, never per claim or address."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()
"""Ours alone: importing this package twice in a test process must not clash with the global one."""

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

store_statements = Counter("ipam_store_statements", "Statements sent to PostgreSQL.", ["operation"], registry=REGISTRY)
store_seconds = Histogram(
    "ipam_store_duration_seconds",
    "Time of one statement.",
    ["operation"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
store_faults = Counter("ipam_store_faults", "Statements that failed.", ["operation"], registry=REGISTRY)
allocation_seconds = Histogram(
    "ipam_allocation_duration_seconds",
    "From the first sight of a claim to the store's answer.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
answer_seconds = Histogram(
    "ipam_claim_answer_duration_seconds",
    "From the first sight of a claim to its written status.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
batch_size = Histogram(
    "ipam_allocation_batch_size", "Claims in one allocate statement.", buckets=_SIZES, registry=REGISTRY
)
allocations = Counter("ipam_allocations", "Answers to claims.", ["result"], registry=REGISTRY)
rate_limited = Counter(
    "ipam_rate_limited",
    "Claims and networks that had to wait for a token of their namespace; of `release`: ends above the limit.",
    ["namespace", "operation"],
    registry=REGISTRY,
)
releases = Counter("ipam_releases", "Leases released.", ["cause"], registry=REGISTRY)
deletions = Counter(
    "ipam_deletions",
    "Requests to delete claims that the API server told of: `noted`, or `lost` since the store did not answer.",
    ["result"],
    registry=REGISTRY,
)
renewals = Counter("ipam_renewals", "Leases renewed for an object that exists.", registry=REGISTRY)
api_writes = Counter("ipam_api_writes", "Requests that change an object.", ["kind", "write", "code"], registry=REGISTRY)
inbox_length = Gauge("ipam_inbox_length", "Objects that wait for a worker.", ["kind"], registry=REGISTRY)
queue_length = Gauge(
    "ipam_pool_waiting_claims", "Claims that wait for this pool.", ["namespace", "pool"], registry=REGISTRY
)
pool_addresses = Gauge(
    "ipam_pool_addresses",
    "Addresses of a pool by state; IPv6 pools beyond 2^53 lose precision.",
    ["namespace", "pool", "state"],
    registry=REGISTRY,
)
conflicts = Gauge("ipam_conflicts", "Findings of the last audit.", ["finding"], registry=REGISTRY)
last_success = Gauge(
    "ipam_last_success_timestamp_seconds",
    "When this loop last ended well; its age is the loop's lag.",
    ["loop"],
    registry=REGISTRY,
)
build_info = Gauge("ipam_build_info", "1, with the version as label.", ["version"], registry=REGISTRY)
resync_braked = Gauge(
    "ipam_resync_braked_releases",
    "Releases that the last resync refused to make without a person's consent.",
    registry=REGISTRY,
)
leader = Gauge("ipam_leader", "1 while this replica leads.", registry=REGISTRY)
