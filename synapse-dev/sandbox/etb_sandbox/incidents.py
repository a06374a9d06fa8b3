"""incident_intelligence: incidents, their timeline, and what follows when one changes (section 7)."""

from datetime import timedelta

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from etb_sandbox import duty, webhook
from etb_sandbox.models import FINAL, LEVELS, Incident, SlaDefinition, SlaInstance, TimelineEvent, User
from etb_sandbox.resources import Companion, Creates, HabitSerializer, HabitViewSet, Patches

# A change of these fields is worth a line in the timeline.
TOLD = {"status": "STATUS_CHANGED", "severity": "SEVERITY_CHANGED", "assigned_to": "ASSIGNED"}
EARLY_SLAS = ("RESPONSE_TIME", "ACKNOWLEDGMENT_TIME", "FIRST_RESPONSE")


class IncidentSerializer(HabitSerializer):
    duplicate_of_title = Companion("original_incident.title")


def announce(event: str, incident: Incident) -> None:
    """Pushes the incident as it stands after the commit, if a webhook receiver is set."""

    def push() -> None:
        row = Incident.objects.select_related("assigned_to", "reporter", "original_incident").get(pk=incident.pk)
        webhook.push(event, IncidentViews.serializer()(row).data)

    transaction.on_commit(push)


def open_incident(incident: Incident, by: User | None) -> None:
    """What ETB does when an incident is reported: number, SLA instances, first timeline entry."""
    incident.incident_number = f"INC-{1000 + Incident.objects.exclude(pk=incident.pk).count():06d}"
    incident.reporter = incident.reporter or by
    incident.save()
    definitions = [rule for rule in SlaDefinition.objects.filter(is_active=True) if rule.matches(incident)]
    for rule in definitions:
        if not rule.incident_priorities or incident.priority in rule.incident_priorities:
            SlaInstance.objects.create(
                incident=incident,
                sla_definition=rule,
                escalation_policy=duty.choose_policy(incident),
                started_at=incident.created_at,
                target_time=incident.created_at + timedelta(minutes=rule.target_duration_minutes),
            )
    duty.note(incident, "INCIDENT_CREATED", "Incident reported", incident.title, by, at=incident.created_at)


def change(incident: Incident, by: User | None, **new) -> None:
    """Sets fields, keeps times and SLAs in step with the status, tells the timeline and the webhook."""
    now = timezone.now()
    for name, event_type in TOLD.items():
        old = getattr(incident, name)
        if name in new and new[name] != old:
            shown_old, shown_new = (getattr(value, "username", value) for value in (old, new[name]))
            data = {"old": shown_old, "new": shown_new}
            duty.note(incident, event_type, f"{name}: {shown_old} -> {shown_new}", "", by, event_data=data)
    status = new.get("status", incident.status)
    running = SlaInstance.objects.filter(incident=incident, status="ACTIVE")
    if status not in ("OPEN", "NEW") and not incident.acknowledged_at:
        new["acknowledged_at"] = now
        met(running.filter(sla_definition__sla_type__in=EARLY_SLAS), now)
    if status == "CANCELLED":
        running.update(status="CANCELLED", updated_at=now)
    elif status in FINAL:
        new["resolved_at"] = incident.resolved_at or now
        met(running, now)
    new["closed_at"] = (incident.closed_at or now) if status == "CLOSED" else None
    incident.touch(**new)
    announce("incident.updated", incident)


def met(slas, now) -> None:
    for sla in slas.filter(target_time__gt=now):
        sla.touch(status="MET", met_at=now, response_time=now - sla.started_at)


class IncidentViews(Creates, Patches, HabitViewSet):
    model = Incident
    serializer_base = IncidentSerializer
    filters = ("status", "severity", "category", "priority", "assigned_to", "reporter", "is_sensitive", "tags")
    search_fields = ("title", "description", "incident_number")
    read_only = ("acknowledged_at", "resolved_at", "closed_at")

    def get_queryset(self):
        """Only what the caller's clearance reaches (section 2.5); the rest is 404, as if it were not there."""
        above = LEVELS[self.request.user.level :]
        closed = Q(required_clearance__in=above) | Q(required_clearance=None, data_classification__in=above)
        return super().get_queryset().exclude(closed)

    def perform_create(self, serializer) -> None:
        incident = serializer.save()
        open_incident(incident, self.request.user)
        announce("incident.created", incident)

    def perform_update(self, serializer) -> None:
        change(serializer.instance, self.request.user, **serializer.validated_data)

    @action(detail=True, methods=["get", "post"])
    def timeline(self, request, pk=None):
        incident = self.get_object()
        views = TimelineViews(request=request, format_kwarg=None, action="list")
        if request.method == "GET":
            rows = views.filter_queryset(views.get_queryset().filter(incident=incident))
            return views.paged(rows)
        serializer = TimelineViews.serializer()(data=request.data)
        serializer.is_valid(raise_exception=True)
        serializer.save(incident=incident, created_by=request.user)
        return Response(serializer.data, status=201)

    @action(detail=True, methods=["post"])
    def escalate(self, request, pk=None):
        incident = self.get_object()
        if incident.status in FINAL:
            return Response({"error": f"Incident is {incident.status}; it can't be escalated."}, status=400)
        row = duty.escalate(incident, str(request.data.get("reason", "")), request.user)
        return Response(duty.EscalationViews.serializer()(row).data, status=201)

    @action(detail=True, methods=["post"])
    def assign(self, request, pk=None):
        incident = self.get_object()
        wanted = {name: request.data.get(name) for name in ("user_id", "username") if request.data.get(name)}
        if not wanted:
            raise ValidationError({"non_field_errors": ["Give user_id or username."]})
        lookup = {"id" if name == "user_id" else name: value for name, value in wanted.items()}
        try:
            user = User.objects.filter(is_active=True, **lookup).first()
        except DjangoValidationError:  # no UUID
            user = None
        if user is None:
            raise ValidationError({name: ["No such active user."] for name in wanted})
        change(incident, request.user, assigned_to=user)
        return Response(self.render(incident))

    def alike(self, incident: Incident):
        shared = Q(category=incident.category) | Q(severity=incident.severity)
        return self.get_queryset().exclude(pk=incident.pk).filter(shared)[:10]

    @action(detail=True)
    def similar(self, request, pk=None):
        incident = self.get_object()
        found = []
        for row in self.alike(incident):
            score = 0.4 * (row.category == incident.category) + 0.2 * (row.severity == incident.severity)
            score += 0.4 * bool(set(row.affected_services) & set(incident.affected_services))
            found.append(self.render(row) | {"similarity_score": round(score, 2)})
        return Response(sorted(found, key=lambda row: -row["similarity_score"]))

    @action(detail=True)
    def correlations(self, request, pk=None):
        incident = self.get_object()
        found = [
            {
                "id": str(row.id),
                "primary_incident": str(incident.id),
                "related_incident": str(row.id),
                "related_incident_title": row.title,
                "correlation_type": "SAME_SERVICE",
                "correlation_score": 0.8,
            }
            for row in self.alike(incident)
            if set(row.affected_services) & set(incident.affected_services)
        ]
        return Response(found)

    @action(detail=True)
    def duplicates(self, request, pk=None):
        incident = self.get_object()
        rows = self.get_queryset().filter(original_incident=incident)
        return Response([self.render(row) | {"duplication_type": "NEAR_DUPLICATE"} for row in rows])

    @action(detail=True)
    def classification(self, request, pk=None):
        row = self.render(self.get_object())
        names = (
            "category",
            "subcategory",
            "classification_confidence",
            "suggested_severity",
            "severity_confidence",
        )
        return Response({name: row[name] for name in names})


class TimelineSerializer(HabitSerializer):
    event_data = serializers.DictField(required=False)


class TimelineViews(Creates, HabitViewSet):
    """Section 7.4's collection; incidents answer theirs from it too."""

    model = TimelineEvent
    serializer_base = TimelineSerializer
    filters = ("incident", "event_type", "source_type", "is_critical_event", "external_ref")
    read_only = ("created_at", "updated_at")
    server_fills = ("incident",)

    def perform_create(self, serializer) -> None:
        if "incident" not in serializer.validated_data:
            raise ValidationError({"incident_id": ["This field is required."]})
        serializer.save(created_by=self.request.user)
