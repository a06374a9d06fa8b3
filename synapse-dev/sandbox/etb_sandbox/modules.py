"""The other modules: automation, compliance, knowledge, security, monitoring, analytics (sections 9 and 10)."""

import hashlib
import json
import mimetypes

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.text import slugify
from rest_framework import serializers
from rest_framework.authtoken.models import Token
from rest_framework.decorators import action
from rest_framework.exceptions import AuthenticationFailed, ValidationError
from rest_framework.response import Response
from rest_framework.views import APIView

from etb_sandbox.duty import note
from etb_sandbox.models import (
    LEVELS,
    AuditLog,
    DevicePosture,
    Evidence,
    Incident,
    KnowledgeArticle,
    KpiMetric,
    LegalHold,
    Postmortem,
    Recommendation,
    Runbook,
    RunbookExecution,
    User,
)
from etb_sandbox.resources import Creates, HabitSerializer, HabitViewSet, Patches
from etb_sandbox.state import STATE


def stamp(moment) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def named_incident(data) -> Incident:
    try:
        return Incident.objects.get(pk=data["incident_id"])
    except (KeyError, Incident.DoesNotExist, DjangoValidationError):  # absent, unknown, no UUID
        raise ValidationError({"incident_id": ["No such incident."]}) from None


# Automation (section 9)


def tell_end(run: RunbookExecution) -> None:
    if run.incident and run.completed_at:
        title = f"Runbook {run.status.lower()}: {run.runbook.name}"
        note(run.incident, "RUNBOOK_COMPLETED", title, run.error_message, None)


class RunbookViews(HabitViewSet):
    model = Runbook
    hidden = ("outcome",)
    filters = ("status", "trigger_type", "category", "tags")
    search_fields = ("name", "description")

    @action(detail=True, methods=["post"])
    def execute(self, request, pk=None):
        runbook = self.get_object()
        if runbook.status != "ACTIVE":
            return Response({"error": f"Runbook is {runbook.status}."}, status=400)
        serializer = ExecutionViews.serializer()(data=request.data)
        serializer.is_valid(raise_exception=True)
        run = serializer.save(runbook=runbook, triggered_by=request.user, total_steps=len(runbook.steps))
        run.write(f"Started by {request.user.username}.", run.started_at)
        run.save()
        Runbook.objects.filter(pk=pk).update(
            execution_count=F("execution_count") + 1, last_executed_at=timezone.now()
        )
        if run.incident:
            data = {"execution_id": str(run.id)}
            note(
                run.incident,
                "RUNBOOK_STARTED",
                f"Runbook started: {runbook.name}",
                "",
                request.user,
                event_data=data,
            )
        return Response(ExecutionViews.serializer()(run).data, status=201)


class ExecutionViews(HabitViewSet):
    model = RunbookExecution
    filters = ("runbook", "status", "incident", "trigger_type")
    server_fills = ("runbook",)
    read_only = (
        "status",
        "current_step",
        "total_steps",
        "started_at",
        "completed_at",
        "duration",
        "execution_log",
        "error_message",
        "output_data",
    )

    def get_queryset(self):
        under_way = RunbookExecution.objects.filter(status__in=("PENDING", "RUNNING"))
        if under_way.exists():
            with transaction.atomic():
                for run in under_way.select_related("runbook", "incident"):
                    run.advance(STATE.options["step_seconds"])
                    tell_end(run)
        return super().get_queryset()

    @action(detail=True, methods=["post"])
    def cancel(self, request, pk=None):
        run = self.get_object()
        if run.completed_at:
            return Response({"error": f"Execution is {run.status}."}, status=400)
        run.finish("CANCELLED", timezone.now())
        tell_end(run)
        return Response(self.render(run))


# Compliance (section 10.1)


class FrameworkSerializer(HabitSerializer):
    framework_type_display = serializers.CharField(source="get_framework_type_display", read_only=True)


class EvidenceViews(Creates, HabitViewSet):
    model = Evidence
    filters = ("incident", "evidence_type", "status")
    read_only = ("status", "is_verified", "verified_at", "chain_of_custody", "file_size")

    def perform_create(self, serializer) -> None:
        data, now, user = serializer.validated_data, timezone.now(), self.request.user
        if file := data.get("file"):
            digest = hashlib.sha256(file.read()).hexdigest()
            file.seek(0)
            if data.get("file_hash", digest) != digest:
                raise ValidationError({"file_hash": ["Does not match the uploaded file."]})
            kind = file.content_type or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            data |= {"file_hash": digest, "file_size": file.size, "mime_type": kind}
        custody = {
            "timestamp": stamp(now),
            "action": "COLLECTED",
            "username": user.username,
            "details": "",
            "hash": data.get("file_hash", ""),
        }
        serializer.save(collected_by=user, chain_of_custody=[custody])


class LegalHoldViews(Creates, HabitViewSet):
    model = LegalHold
    filters = ("status", "incident=incidents", "case_number")
    read_only = ("released_at",)

    def perform_create(self, serializer) -> None:
        serializer.save(issued_by=self.request.user)

    @action(detail=True, methods=["post"])
    def release(self, request, pk=None):
        hold = self.get_object()
        if hold.status != "ACTIVE":
            return Response({"detail": f"Hold is {hold.status}.", "code": "conflict"}, status=409)
        hold.touch(status="RELEASED", released_at=timezone.now(), released_by=request.user)
        return Response(self.render(hold))


class AuditViews(Creates, HabitViewSet):
    """Append only: each entry carries the hash of the one before."""

    model = AuditLog
    filters = ("action_type", "resource_type", "resource_id", "incident", "user", "severity")

    def perform_create(self, serializer) -> None:
        last = AuditLog.objects.order_by("created_at", "id").last()
        row = serializer.save(user=serializer.validated_data.get("user") or self.request.user)
        row.previous_hash = last.entry_hash if last else "0" * 64
        body = [
            row.previous_hash,
            row.action_type,
            row.resource_type,
            row.resource_id,
            stamp(row.timestamp),
            row.details,
        ]
        row.entry_hash = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        row.save()


# Knowledge (section 10.2)


class ArticleViews(Creates, Patches, HabitViewSet):
    model = KnowledgeArticle
    filters = ("article_type", "status", "category", "tags", "difficulty_level")
    search_fields = ("title", "summary", "content")
    read_only = ("slug", "view_count", "average_rating", "rating_count", "published_at")

    def get_queryset(self):
        return super().get_queryset().exclude(data_classification__in=LEVELS[self.request.user.level :])

    def perform_create(self, serializer) -> None:
        serializer.save(author=self.request.user, slug=slugify(serializer.validated_data["title"]))

    @action(detail=False, methods=["post"])
    def search(self, request):
        words = str(request.data.get("query", "")).lower().split()
        found = []
        for article in self.get_queryset().filter(status="PUBLISHED"):
            where = f"{article.title} {article.title} {article.summary} {article.content}".lower()
            hits = sum(word in where for word in words)
            if hits:
                found.append(self.render(article) | {"relevance_score": round(hits / len(words), 2)})
        found.sort(key=lambda row: -row["relevance_score"])
        limit = min(int(request.data.get("limit", 10)), 100)
        return Response({"results": found[:limit], "total_count": len(found)})

    @action(detail=True, methods=["post"])
    def rate(self, request, pk=None):
        article, rating = self.get_object(), request.data.get("rating")
        if not isinstance(rating, int) or not 1 <= rating <= 5:  # noqa: PLR2004
            raise ValidationError({"rating": ["Must be 1 to 5."]})
        total = (article.average_rating or 0) * article.rating_count + rating
        count = article.rating_count + 1
        article.touch(rating_count=count, average_rating=round(total / count, 2))
        return Response({"average_rating": article.average_rating, "rating_count": count})


class RecommendationViews(HabitViewSet):
    model = Recommendation
    filters = ("incident", "recommendation_type", "confidence_level", "is_applied")

    @action(detail=False, methods=["post"])
    def generate_for_incident(self, request):
        incident = named_incident(request.data)
        services = set(incident.affected_services)
        made = [
            Recommendation.objects.create(
                incident=incident,
                recommendation_type="KNOWLEDGE_ARTICLE",
                title=article.title,
                description=article.summary,
                knowledge_article=article,
                similarity_score=0.7,
                confidence_score=0.7,
                confidence_level="HIGH",
                reasoning="The article names an affected service.",
            )
            for article in KnowledgeArticle.objects.filter(status="PUBLISHED")
            if services & set(article.related_services)
        ][: int(request.data.get("max_recommendations", 5))]
        return Response([self.render(row) for row in made], status=201)

    @action(detail=True, methods=["post"])
    def apply(self, request, pk=None):
        row = self.get_object()
        row.touch(is_applied=True, applied_at=timezone.now())
        return Response(self.render(row))


class PostmortemSerializer(HabitSerializer):
    is_overdue = serializers.SerializerMethodField()

    def get_is_overdue(self, row) -> bool:
        return bool(row.due_date and row.due_date < timezone.now() and row.status not in ("PUBLISHED", "ARCHIVED"))


class PostmortemViews(HabitViewSet):
    model = Postmortem
    serializer_base = PostmortemSerializer
    filters = ("status", "severity", "is_automated", "owner=owner__username", "incident")
    search_fields = ("title", "executive_summary", "root_cause_analysis")
    list_hides = ("executive_summary", "timeline", "root_cause_analysis", "lessons_learned")

    @action(detail=False, methods=["post"])
    def generate_automated(self, request):
        incident = named_incident(request.data)
        story = [
            {"timestamp": stamp(event.event_time), "event": event.event_type, "description": event.title}
            for event in incident.events.all()
        ]
        row = Postmortem.objects.create(
            title=f"Postmortem: {incident.title}"[:255],
            incident=incident,
            severity=incident.severity,
            owner=incident.assigned_to or request.user,
            is_automated=True,
            completion_percentage=40.0,
            timeline=story,
        )
        return Response(self.render(row), status=201)


# Security (sections 1.2 and 10.3)


def clearance_of(user: User, *names: str) -> dict | None:
    return {name: getattr(user.clearance, name) for name in names} if user.clearance else None


def profile(user: User) -> dict:
    """The shape of `user` in section 1.2."""
    names = ("id", "username", "email", "mfa_enabled")
    return {name: getattr(user, name) for name in names} | {"clearance_level": clearance_of(user, "name", "level")}


class UserSerializer(HabitSerializer):
    clearance_level = serializers.SerializerMethodField()

    def get_clearance_level(self, user) -> dict | None:
        return clearance_of(user, "id", "name", "level")


class UserViews(HabitViewSet):
    model = User
    serializer_base = UserSerializer
    hidden = ("password", "clearance")
    filters = ("username", "email", "is_active", "department")
    search_fields = ("username", "email", "first_name", "last_name")

    @action(detail=False)
    def me(self, request):
        return Response(self.render(request.user))


class DeviceViews(Creates, HabitViewSet):
    model = DevicePosture
    server_fills = ("owner",)

    def get_queryset(self):
        return super().get_queryset().filter(owner=self.request.user)

    def perform_create(self, serializer) -> None:
        device = serializer.save(owner=self.request.user)
        good = ("has_antivirus", "firewall_enabled", "encryption_enabled", "screen_lock_enabled", "is_managed")
        device.touch(risk_score=20 * sum(not getattr(device, name) for name in good))

    @action(detail=False, methods=["post"])
    def register_device(self, request):
        return self.create(request)

    @action(detail=True, methods=["post"])
    def update_posture(self, request, pk=None):
        serializer = self.get_serializer(self.get_object(), data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        self.perform_create(serializer)
        return Response(serializer.data)


class Login(APIView):
    permission_classes = ()

    def post(self, request):
        given = {name: str(request.data.get(name, "")) for name in ("username", "password", "mfa_token")}
        if missing := [name for name in ("username", "password") if not given[name]]:
            raise ValidationError({name: ["This field is required."] for name in missing})
        user = User.objects.select_related("clearance").filter(username=given["username"]).first()
        if not (user and user.is_active and not user.is_locked and user.check_password(given["password"])):
            raise AuthenticationFailed("Invalid credentials.")
        if user.mfa_enabled and given["mfa_token"] != "000000":
            raise ValidationError({"mfa_token": ["A valid MFA token is required."]})
        user.last_login = timezone.now()
        user.save(update_fields=["last_login"])
        token, _ = Token.objects.get_or_create(user=user)
        return Response({"token": token.key, "user": profile(user), "message": "Login successful"})


class Logout(APIView):
    def post(self, request):
        request.auth.delete()
        return Response({"message": "Logged out"})


class ChangePassword(APIView):
    def post(self, request):
        if not request.user.check_password(str(request.data.get("old_password", ""))):
            raise ValidationError({"old_password": ["Wrong password."]})
        request.user.set_password(str(request.data.get("new_password", "")))
        request.user.save()
        return Response({"message": "Password changed"})


class Profile(APIView):
    def get(self, request):
        return Response(profile(request.user))


class MfaStatus(APIView):
    def get(self, request):
        return Response({"mfa_enabled": request.user.mfa_enabled})


# Monitoring and analytics (sections 10.4 and 10.5)


class MonitoringSummary(APIView):
    def get(self, request):
        return Response(
            {
                "overall_status": "HEALTHY",
                "total_targets": 12,
                "healthy_targets": 11,
                "warning_targets": 1,
                "critical_targets": 0,
                "health_percentage": 91.67,
                "last_updated": timezone.now(),
            }
        )


class KpiViews(Creates, HabitViewSet):
    model = KpiMetric
    filters = ("metric_type", "is_active", "is_system_metric")

    def perform_create(self, serializer) -> None:
        serializer.save(created_by=self.request.user)
