"""Settings: environment variables, once, into one frozen value."""

import os
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from ipam_operator.errors import SettingsError

PREFIX = "IPAM_"


class Settings(BaseModel):
    """Every setting, its unit in its name and its default with the reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database_url: str = Field(description="PostgreSQL URL of the allocation store.")
    owner_database_url: str = Field(
        default="",
        description="The same for the schema's owner, where that is another login: for `migrate` and `rebuild`.",
    )
    statement_cache: bool = Field(default=True, description="Off behind PgBouncer in transaction mode before 1.21.")
    store_connections: int = Field(
        default=4, ge=1, le=64, description="Hot path; one statement is in flight per pool, so few suffice."
    )
    timer_connections: int = Field(
        default=2, ge=1, le=16, description="Separate, so that a storm of claims starves no timer or probe."
    )
    statement_timeout_seconds: float = Field(default=30.0, gt=0, description="Client-side limit of a call.")
    migrate: bool = Field(
        default=True, description="Bring the schema up to date at start; off: refuse to start on another schema."
    )
    adopt_store: bool = Field(
        default=False, description="Take over a store that belongs to another cluster (design rule 12)."
    )
    api_connections: int = Field(
        default=32, ge=1, le=256, description="Status writes in flight; more only queue in the API server."
    )
    batch_limit: int = Field(default=1000, ge=1, le=10_000, description="Claims in one allocate statement.")
    health_host: str = Field(default="127.0.0.1", description="Bind address of probes and metrics.")
    health_port: int = Field(default=8080, ge=0, le=65535, description="0 lets the kernel choose.")
    health_port_file: str = Field(default="", description="Where to write the chosen port; empty: nowhere.")
    webhook_directory: str = Field(
        default="",
        description="Of `tls.crt`, `tls.key`, `token`: then history tells who deleted (docs/operations/history.md).",
    )
    webhook_host: str = Field(default="127.0.0.1", description="Bind address of that webhook.")
    webhook_port: int = Field(default=9443, ge=0, le=65535, description="0 lets the kernel choose.")
    webhook_port_file: str = Field(default="", description="Where to write the chosen port; empty: nowhere.")
    webhook_linger_seconds: float = Field(
        default=5.0,
        ge=0,
        description="So long a replica that was told to end still answers there: who asks may not know that it goes.",
    )
    pool_timer_seconds: float = Field(default=15.0, gt=0, description="Counters and cool-down of each pool.")
    queue_position_seconds: float = Field(
        default=60.0, gt=0, description="How often the first 100 of a queue are told their places, at most."
    )
    audit_timer_seconds: float = Field(default=300.0, gt=0, description="Conflict audit of each network.")
    resync_seconds: float = Field(
        default=120.0, gt=0, description="Cluster against store; the guarantee behind every lost event."
    )
    release_brake_count: int = Field(
        default=50, ge=0, description="A resync that would release more leases than this, and ..."
    )
    release_brake_percent: float = Field(
        default=10.0, ge=0, le=100, description="... more than this share of all, stops and asks (rule 12)."
    )
    memory_days: float = Field(
        default=30.0, ge=0, description="So long a claim that comes again may find the address that it had."
    )
    retention_days: float = Field(
        default=30.0,
        ge=0,
        description="So long addresses are kept for a deleted claim of reclaimPolicy Retain; 0: not.",
    )
    renew_kinds: str = Field(
        default="",
        description="Kinds whose objects keep leases alive by autoRenew: `v1/Pod,apps/v1/Deployment`; needs a role.",
    )
    renew_seconds: float = Field(
        default=60.0, gt=0, description="How often those kinds are listed, while leases are due; two misses count."
    )
    rate_limits: bool = Field(
        default=False,
        description="Hold up namespaces that ask for more than their limits (docs/guides/rate-limits.md).",
    )
    rate_limit_defaults: str = Field(
        default="allocate=100/10,network=10/2,bulk=5/1,reserve=200/20,release=50/5",
        description="Per hour / at once, of each namespace that says nothing else; what is not named is not limited.",
    )
    leader_seconds: float = Field(
        default=10.0,
        gt=0.5,
        description="A leader silent for so long is replaced; renewed every third of it.",
    )
    leader_election: bool = Field(default=True, description="Off only in tests: correctness never depends on it.")
    log_level: str = Field(default="INFO", description="Level of the root logger.")

    @field_validator("database_url", "owner_database_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        """Anything else cannot be told from a database that is away. The message repeats no password."""
        if value and not value.startswith(("postgresql://", "postgres://")):
            raise PydanticCustomError("url", "must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
        return value

    @property
    def kinds_to_renew_for(self) -> frozenset[str]:
        """The kinds in `renew_kinds`."""
        return frozenset(kind.strip() for kind in self.renew_kinds.split(",") if kind.strip())


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read `IPAM_*`; unknown names with that prefix are refused, so a typo cannot pass for a default.

    Raises:
        SettingsError: naming each variable that is missing, unknown or out of bounds.
    """
    source = os.environ if environment is None else environment
    values = {name.removeprefix(PREFIX).lower(): value for name, value in source.items() if name.startswith(PREFIX)}
    foreign = {name for name in values if name.startswith("test_") or name == "cache"}  # of the development stack
    try:
        return Settings.model_validate({name: value for name, value in values.items() if name not in foreign})
    except ValidationError as error:
        wrong = [f"{PREFIX}{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors()]
        raise SettingsError("\n".join(wrong)) from error
