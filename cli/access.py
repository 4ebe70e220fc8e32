"""The gate in front of each process's HTTP server, made from the settings."""

from pathlib import Path

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from runtime.access.api_keys import FILE
from runtime.access.browsers import is_loopback, networks
from runtime.access.gate import Gate, Policy
from runtime.access.key_ring import KeyRing
from runtime.access.rates import UNLIMITED, Allowance
from runtime.access.settings import AccessSettings
from runtime.log import Log
from runtime.settings import Settings
from schemas.errors import ConfigurationError

EACH_KEY = Allowance(per_second=50, burst=200, at_a_time=64)
"""What a key may ask where the settings give no number."""


def keys_file(settings: Settings) -> Path:
    """Where the API keys are."""
    return (settings.access.keys_file or settings.data_dir / FILE).expanduser()


def asks_for_keys(settings: Settings) -> bool:
    """Whether a process that listens as the settings say asks for API keys."""
    required = settings.access.required
    return required == "always" or (required == "auto" and not is_loopback(settings.host))


def guarded(
    app: ASGIApp, settings: Settings, registry: CollectorRegistry, log: Log, *, serves_people: bool = True
) -> Gate:
    """An app behind the gate. Raises `ConfigurationError` where keys are asked for and nobody could have one.

    `serves_people` is False for a process with nothing but probes, metrics and the webhook, which has a token of its
    own: it starts without keys, and whatever else it may serve then answers nobody.
    """
    required = asks_for_keys(settings)
    ring = KeyRing(keys_file(settings), log)
    known = ring.load() if required else 0
    if required and not known and serves_people:
        raise ConfigurationError(
            f"Whoever can connect to {settings.host} could search, and no API key exists in {ring.path}. Make one with "
            "`sightline keys new --name NAME --scope search,embed`; or listen on 127.0.0.1; or, behind a gateway that "
            "authenticates, set SIGHTLINE_ACCESS__REQUIRED=never"
        )
    access = settings.access
    policy = Policy(
        required=required,
        on_loopback=is_loopback(settings.host),
        allowed_hosts=frozenset(name.lower() for name in access.allowed_hosts),
        trusted_proxies=networks(access.trusted_proxies),
        body_bytes=access.body_bytes,
        events_have_token=bool(settings.ingest.webhook.token.get_secret_value().strip()),
        each_key=_allowance(access, EACH_KEY),
        each_address=_allowance(access, EACH_KEY if required else UNLIMITED),
    )
    if access.required == "never" and not policy.on_loopback:
        log.warning(
            "access_open",
            f"whoever can connect to {settings.host} may ask for anything: SIGHTLINE_ACCESS__REQUIRED is never. Let "
            "nobody connect but the gateway that authenticates",
        )
    return Gate(app, policy, ring, registry)


def _allowance(access: AccessSettings, otherwise: Allowance) -> Allowance:
    per_second = otherwise.per_second if access.requests_per_second is None else access.requests_per_second
    return Allowance(
        per_second=per_second,
        burst=max(EACH_KEY.burst, round(per_second)) if access.burst is None else access.burst,
        at_a_time=otherwise.at_a_time if access.concurrency is None else access.concurrency,
    )
