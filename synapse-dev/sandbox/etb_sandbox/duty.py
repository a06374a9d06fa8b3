"""sla_oncall: SLAs and their breaches, escalation, who is on call (section 8)."""

from datetime import timedelta

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import transaction
from django.utils import timezone
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.response import Response

from etb_sandbox.models import (
    EscalationInstance,
    EscalationPolicy,
    Incident,
    OncallAssignment,
    OncallRotation,
    SlaInstance,
    TimelineEvent,
    User,
)
from etb_sandbox.resources import Companion, Creates, HabitSerializer, HabitViewSet


def note(
    incident: Incident, event_type: str, title: str, description: str, by: User | None, at=None, **more
) -> None:
    """An automatic timeline entry."""
    TimelineEvent.objects.create(
        incident=incident,
        event_type=event_type,
        title=title[:255],
        description=description,
        source_type="SYSTEM",
        created_by=by,
        event_time=at or timezone.now(),
        **more,
    )


def choose_policy(incident: Incident) -> EscalationPolicy | None:
    """Section 8.5: the running SLA's, else one that names the severity or category, else the default."""
    sla = incident.slas.filter(status="ACTIVE").exclude(escalation_policy=None).order_by("target_time").first()
    if sla:
        return sla.escalation_policy
    policies = list(EscalationPolicy.objects.filter(is_active=True).order_by("name"))
    named = [policy for policy in policies if not policy.is_default and policy.matches(incident)]
    return next(iter(named + [policy for policy in policies if policy.is_default]), None)


def on_call(now=None):
    """The assignments under way."""
    now = now or timezone.now()
    return OncallAssignment.objects.filter(status="ACTIVE", start_time__lte=now, end_time__gt=now).select_related(
        "rotation", "user", "handed_off_from"
    )


def escalate(
    incident: Incident,
    reason: str,
    by: User | None,
    policy: EscalationPolicy | None = None,
    sla: SlaInstance | None = None,
) -> EscalationInstance:
    """Every call makes a new instance one level up: doubled calls show."""
    policy = policy or choose_policy(incident)
    level = 1 + incident.escalations.filter(status__in=("TRIGGERED", "ACKNOWLEDGED")).count()
    steps = policy.escalation_steps if policy else []
    step = steps[min(level, len(steps)) - 1] if steps else {"channels": [], "targets": []}
    now = timezone.now()
    told = [assignment.user.username for assignment in on_call(now)]
    targets = [name for target in step["targets"] for name in (told if target == "ONCALL" else [target])]
    sent_at = now.isoformat().replace("+00:00", "Z")
    row = EscalationInstance.objects.create(
        incident=incident,
        escalation_policy=policy,
        sla_instance=sla,
        escalation_level=level,
        reason=reason,
        notifications_sent=[
            {"channel": channel, "target": target, "sent_at": sent_at}
            for channel in step["channels"]
            for target in targets
        ],
        actions_taken=list(step.get("actions", [])),
    )
    data = {"escalation_id": str(row.id), "level": level}
    note(incident, "ESCALATED", f"Escalated to level {level}", reason, by, event_data=data, is_critical_event=True)
    return row


def sweep() -> None:
    """Marks what ran out since the last look, and escalates where the definition says so."""
    now = timezone.now()
    late = SlaInstance.objects.filter(status="ACTIVE", target_time__lte=now)
    if not late.exists():
        return
    with transaction.atomic():
        for sla in late.select_related("incident", "sla_definition", "escalation_policy"):
            sla.status, sla.breached_at = "BREACHED", sla.target_time
            title = f"SLA breached: {sla.sla_definition.name}"
            note(sla.incident, "SLA_BREACHED", title, "", None, at=sla.target_time, is_critical_event=True)
            if sla.sla_definition.escalation_enabled:
                row = escalate(sla.incident, title, None, sla.escalation_policy, sla)
                sla.escalation_triggered, sla.escalation_triggered_at = True, now
                sla.escalation_level = row.escalation_level
            sla.touch()


class SlaSerializer(HabitSerializer):
    sla_type = Companion("sla_definition.sla_type")
    is_breached = serializers.SerializerMethodField()
    time_remaining = serializers.SerializerMethodField()
    breach_time = serializers.SerializerMethodField()

    def get_is_breached(self, sla) -> bool:
        return sla.status == "BREACHED"

    def seconds_left(self, sla) -> int:
        return int((sla.target_time - (sla.met_at or timezone.now())).total_seconds())

    def get_time_remaining(self, sla) -> int:
        return max(self.seconds_left(sla), 0)

    def get_breach_time(self, sla) -> int:
        return max(-self.seconds_left(sla), 0)


class SlaViews(HabitViewSet):
    model = SlaInstance
    serializer_base = SlaSerializer
    filters = ("incident", "status", "sla_definition", "sla_type=sla_definition__sla_type")

    def get_queryset(self):
        sweep()
        return super().get_queryset()

    @action(detail=False)
    def breached(self, request):
        return self.paged(self.get_queryset().filter(status="BREACHED"))

    @action(detail=False)
    def at_risk(self, request):
        now = timezone.now()
        running = self.get_queryset().filter(status="ACTIVE").order_by("target_time")
        return self.paged([s for s in running if (now - s.started_at) >= 0.75 * (s.target_time - s.started_at)])

    @action(detail=True, methods=["post"])
    def mark_met(self, request, pk=None):
        sla, now = self.get_object(), timezone.now()
        sla.touch(status="MET", met_at=now, response_time=now - sla.started_at)
        return Response(self.render(sla))

    @action(detail=True, methods=["post"])
    def mark_breached(self, request, pk=None):
        sla = self.get_object()
        sla.touch(status="BREACHED", breached_at=timezone.now())
        return Response(self.render(sla))


class EscalationViews(Creates, HabitViewSet):
    model = EscalationInstance
    filters = ("incident", "status", "escalation_policy", "sla_instance")
    read_only = (
        "status",
        "escalation_level",
        "current_step",
        "notifications_sent",
        "actions_taken",
        "triggered_at",
        "acknowledged_at",
        "resolved_at",
    )

    def get_queryset(self):
        sweep()
        return super().get_queryset()

    def perform_create(self, serializer) -> None:
        asked = serializer.validated_data
        serializer.instance = escalate(
            asked["incident"],
            asked.get("reason", ""),
            self.request.user,
            asked.get("escalation_policy"),
            asked.get("sla_instance"),
        )

    def move(self, allowed: tuple[str, ...], **changes) -> Response:
        row = self.get_object()
        if row.status not in allowed:
            problem = f"Escalation is {row.status}; it can't become {changes['status']}."
            return Response({"detail": problem, "code": "conflict"}, status=409)
        row.touch(**changes)
        return Response(self.render(row))

    @action(detail=True, methods=["post"])
    def acknowledge(self, request, pk=None):
        changes = {"acknowledged_at": timezone.now(), "acknowledged_by": request.user}
        return self.move(("PENDING", "TRIGGERED"), status="ACKNOWLEDGED", **changes)

    @action(detail=True, methods=["post"])
    def resolve(self, request, pk=None):
        return self.move(("PENDING", "TRIGGERED", "ACKNOWLEDGED"), status="RESOLVED", resolved_at=timezone.now())


class AssignmentSerializer(HabitSerializer):
    user_email = Companion("user.email")


class AssignmentViews(HabitViewSet):
    model = OncallAssignment
    serializer_base = AssignmentSerializer
    filters = ("rotation", "user", "status")

    @action(detail=False)
    def current(self, request):
        return self.paged(on_call().order_by("rotation__name"))

    @action(detail=True, methods=["post"])
    def handoff(self, request, pk=None):
        row = self.get_object()
        try:
            heir = User.objects.get(pk=request.data.get("to_user_id"))
        except (User.DoesNotExist, DjangoValidationError):  # the second: no UUID
            raise ValidationError({"to_user_id": ["No such user."]}) from None
        new = put_on_call(row.rotation, heir, row.user, str(request.data.get("notes", "")), row.end_time)
        return Response(self.render(new), status=201)


def put_on_call(
    rotation: OncallRotation, user: User | None, before: User | None = None, notes: str = "", end=None
):
    """Ends whoever is on call in the rotation; None leaves nobody."""
    now = timezone.now()
    for row in rotation.assignments.filter(status="ACTIVE"):
        row.touch(status="COMPLETED", end_time=now)
    if user is None:
        return None
    return OncallAssignment.objects.create(
        rotation=rotation,
        user=user,
        start_time=now,
        end_time=end or now + timedelta(days=7),
        status="ACTIVE",
        handed_off_from=before,
        handoff_notes=notes,
        handoff_time=now if before else None,
    )


class RotationSerializer(HabitSerializer):
    current_oncall = serializers.SerializerMethodField()

    def get_current_oncall(self, rotation):
        row = on_call().filter(rotation=rotation).first()
        return AssignmentViews.serializer()(row).data if row else None


class RotationViews(HabitViewSet):
    model = OncallRotation
    serializer_base = RotationSerializer
    filters = ("status", "rotation_type", "team_name")
    search_fields = ("name", "description", "team_name")

    @action(detail=True)
    def current_oncall(self, request, pk=None):
        row = on_call().filter(rotation=self.get_object()).first()
        if row is None:
            raise NotFound("Nobody is on call in this rotation.")
        return Response(AssignmentViews.serializer()(row).data)

    @action(detail=False)
    def current(self, request):
        return self.paged(self.get_queryset().filter(pk__in=on_call().values("rotation")))
