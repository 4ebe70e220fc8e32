"""Which request needs which scope. What nobody wrote down here needs `admin`."""

import re
from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a key may do. No scope contains another one."""

    SEARCH = "search"
    EMBED = "embed"
    INGEST = "ingest"
    ADMIN = "admin"


class Door(StrEnum):
    """How a path is guarded, besides its scope."""

    PROBE = "probe"
    """For whoever keeps the process running: no key, no limit, any Host header."""
    OPEN = "open"
    """No key: pages that hold nothing of anybody's images."""
    KEY = "key"
    """A key with the scope."""


@dataclass(frozen=True)
class Rule:
    """What a request by these methods (None: any) to paths of this pattern needs."""

    methods: frozenset[str] | None
    pattern: re.Pattern[str]
    door: Door
    scope: Scope | None = None
    written: bool = True
    """False for the rule of what nobody wrote down."""


_READ = frozenset({"GET", "HEAD"})
_POST = frozenset({"POST"})


def _rule(methods: frozenset[str] | None, pattern: str, door: Door, scope: Scope | None = None) -> Rule:
    return Rule(methods, re.compile(pattern), door, scope)


RULES = (
    _rule(_READ, "/(startupz|livez|readyz|health|metrics)", Door.PROBE),
    _rule(_READ, "/(docs|openapi.json|favicon.ico)?", Door.OPEN),
    _rule(_READ, "/page/.*", Door.OPEN),
    _rule(_READ, "/v1/access", Door.OPEN),
    _rule(None, "/v1/retag(/.*)?", Door.KEY, Scope.ADMIN),
    _rule(_POST, "/v1/(images/[^/]+|failures)/retry", Door.KEY, Scope.ADMIN),
    _rule(_READ, "/v1/.*", Door.KEY, Scope.SEARCH),
    _rule(_POST, "/v1/search", Door.KEY, Scope.SEARCH),
    _rule(None, "/api/.*", Door.KEY, Scope.SEARCH),
    # POST /tag/directory asks for ADMIN itself where the folder is indexed, since it then writes as a retag does.
    _rule(None, "/(embed|tag)(/.*)?", Door.KEY, Scope.EMBED),
    _rule(_POST, "/events", Door.KEY, Scope.INGEST),
)
"""The first that fits decides."""

ANYTHING_ELSE = Rule(None, re.compile(".*", re.DOTALL), Door.KEY, Scope.ADMIN, written=False)


def rule_of(method: str, path: str) -> Rule:
    """The rule for a request; `path` without its query, percent-decoded, as the router of the app sees it."""
    for rule in RULES:
        if (rule.methods is None or method in rule.methods) and rule.pattern.fullmatch(path):
            return rule
    return ANYTHING_ELSE
