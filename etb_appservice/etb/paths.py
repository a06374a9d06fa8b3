"""ETB's paths: `<module>.<resource>` to a template (docs/etb-contract.md 1.7, 12).

Nearly all of them are inferred, so each can be overridden, and `candidates` names what the start-up probe tries.
No other module may spell a path.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from types import MappingProxyType
from urllib.parse import quote

_BASES: Mapping[str, tuple[str, ...]] = {
    "incidents": (
        "/api/incidents/",
        "/api/incident-intelligence/",
        "/api/incident_intelligence/api/",
        "/api/incident-intelligence/api/v1/",
    ),
    "war_rooms": ("/api/collaboration-war-rooms/", "/api/collaboration_war_rooms/api/"),
    "sla": ("/api/sla-oncall/api/v1/",),
    "oncall": ("/api/sla-oncall/api/v1/",),
    "automation": (
        "/api/automation/",
        "/api/automation-orchestration/",
        "/api/automation_orchestration/api/",
        "/api/automation-orchestration/api/v1/",
    ),
    "compliance": ("/api/compliance/",),
    "knowledge": ("/api/knowledge/",),
    "security": ("/security/api/", "/api/security/", "/api/"),
    "monitoring": ("/api/monitoring/",),
    "analytics": ("/api/analytics/",),
}
_RESOURCES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "incidents": {
        "list": ("incidents/",),
        "timeline": ("incidents/{id}/timeline/",),
        "assign": ("incidents/{id}/assign/",),
        "escalate": ("incidents/{id}/escalate/",),
    },
    "war_rooms": {"timeline": ("timeline-events/",)},
    "sla": {
        "instances": ("sla-instances/",),
        "definitions": ("sla-definitions/",),
        "escalations": ("escalation-instances/",),
        "acknowledge": ("escalation-instances/{id}/acknowledge/",),
        "resolve": ("escalation-instances/{id}/resolve/",),
        "policies": ("escalation-policies/",),
    },
    "oncall": {
        "rotations": ("oncall-rotations/", "on-call-rotations/"),
        "assignments": ("oncall-assignments/", "on-call-assignments/"),
    },
    "automation": {
        "runbooks": ("runbooks/",),
        "execute": ("runbooks/{id}/execute/",),
        "executions": ("runbook-executions/",),
        "cancel": ("runbook-executions/{id}/cancel/",),
        "maintenance": ("maintenance-windows/",),
    },
    "compliance": {
        "evidence": ("evidence/", "evidence-collections/", "evidence-collection/"),
        "retention": ("retention-policies/",),
        "legal_holds": ("legal-holds/",),
        "audit": ("audit-logs/",),
    },
    "knowledge": {
        "articles": ("knowledge-articles/", "articles/"),
        "recommendations": ("recommendations/",),
        "postmortems": ("postmortems/",),
    },
    "security": {
        "users": ("users/",),
        "profile": ("auth/profile/",),
        "classifications": ("data-classifications/",),
    },
    "monitoring": {"summary": ("health-checks/summary/",)},
    "analytics": {"kpis": ("kpi-metrics/",)},
}
PROBED: Mapping[str, str] = {
    "incidents": "list",
    "sla": "instances",
    "oncall": "assignments",
    "automation": "runbooks",
    "compliance": "evidence",
    "knowledge": "articles",
    "security": "users",
    "monitoring": "summary",
    "analytics": "kpis",
}
"""Module to the resource whose presence proves it. The war rooms' timeline is only a fallback: never probed."""

DEFAULTS: Mapping[str, str] = {
    f"{module}.{resource}": _BASES[module][0] + names[0]
    for module, resources in _RESOURCES.items()
    for resource, names in resources.items()
}


@dataclass(frozen=True, slots=True)
class EtbPaths:
    """The paths in force. Build it by `with_overrides`."""

    table: Mapping[str, str] = field(default_factory=lambda: DEFAULTS)
    fixed: frozenset[str] = frozenset()
    """Keys that the operator set; the probe leaves them alone."""

    @classmethod
    def with_overrides(cls, overrides: Mapping[str, str]) -> "EtbPaths":
        """Defaults, replaced where the operator says so; raises ValueError naming a wrong key or path."""
        for key, path in overrides.items():
            if key not in DEFAULTS:
                raise ValueError(f"etb.paths has no key {key!r}; there are {', '.join(sorted(DEFAULTS))}")
            if not path.startswith("/") or path.startswith("//") or "?" in path or "#" in path:
                raise ValueError(f"etb.paths.{key} must be a path that begins with one slash, without a query")
            needs_id = "{id}" in DEFAULTS[key]
            if path.count("{id}") != int(needs_id) or {"{", "}"} & set(path.replace("{id}", "")):
                raise ValueError(f"etb.paths.{key} must hold {'{id} once' if needs_id else 'no placeholder'}")
        slashed = {key: path if path.endswith("/") else f"{path}/" for key, path in overrides.items()}
        return cls(MappingProxyType({**DEFAULTS, **slashed}), frozenset(slashed))

    def path(self, key: str, **values: str) -> str:
        """The path of a resource, `{id}` filled in and quoted, always with the trailing slash."""
        path = self.table[key]
        for name, value in values.items():
            path = path.replace(f"{{{name}}}", quote(value, safe=""))
        return path

    def below(self, key: str, *segments: str) -> str:
        """A detail or an action of a listed resource, such as `…/{id}/current_oncall/`."""
        return self.table[key] + "".join(f"{quote(segment, safe='')}/" for segment in segments)

    def candidates(self, module: str) -> Iterator["EtbPaths"]:
        """This table with each known place of a module, the most likely first."""
        resources = _RESOURCES[module]
        spellings = max(len(names) for names in resources.values())
        seen: set[str] = set()
        for base, spelling in product(_BASES[module], range(spellings)):
            moved = {
                f"{module}.{resource}": base + names[min(spelling, len(names) - 1)]
                for resource, names in resources.items()
                if f"{module}.{resource}" not in self.fixed
            }
            found = EtbPaths(MappingProxyType({**self.table, **moved}), self.fixed)
            probed = found.path(f"{module}.{PROBED[module]}")
            if probed not in seen:
                seen.add(probed)
                yield found
