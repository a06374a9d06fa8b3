"""Where everything is served: the bases of section 1.7 and the paths of section 12, and the control calls."""

from django.conf import settings
from django.urls import include, path, re_path
from django.views.static import serve
from rest_framework.routers import SimpleRouter

from etb_sandbox import control, duty, incidents, models, modules
from etb_sandbox.resources import resource
from etb_sandbox.state import MODULES

NAMED = "name description"

RESOURCES = {
    "incidents": {"incidents": incidents.IncidentViews},
    "sla": {
        "business-hours": resource(models.BusinessHours, "is_active is_default timezone", NAMED),
        "sla-definitions": resource(models.SlaDefinition, "sla_type is_active is_default", NAMED),
        "sla-instances": duty.SlaViews,
        "escalation-policies": resource(models.EscalationPolicy, "is_active is_default escalation_type", NAMED),
        "escalation-instances": duty.EscalationViews,
        "oncall-rotations": duty.RotationViews,
        "oncall-assignments": duty.AssignmentViews,
        "notification-templates": resource(models.NotificationTemplate, "channel is_active", NAMED[:4]),
    },
    "automation": {
        "runbooks": modules.RunbookViews,
        "runbook-executions": modules.ExecutionViews,
        "maintenance-windows": resource(models.MaintenanceWindow, "status", NAMED),
        "chatops-commands": resource(models.ChatopsCommand, "platform status", "command"),
    },
    "compliance": {
        "frameworks": resource(
            models.Framework,
            "framework_type is_active",
            "name description applicable_regions industry_sectors",
            serializer_base=modules.FrameworkSerializer,
        ),
        "evidence": modules.EvidenceViews,
        "retention-policies": resource(models.RetentionPolicy, "data_type data_classification is_active", NAMED),
        "legal-holds": modules.LegalHoldViews,
        "audit-logs": modules.AuditViews,
    },
    "knowledge": {
        "knowledge-articles": modules.ArticleViews,
        "recommendations": modules.RecommendationViews,
        "postmortems": modules.PostmortemViews,
    },
    "security": {
        "users": modules.UserViews,
        "data-classifications": resource(models.DataClassification, "name", NAMED),
        "device-postures": modules.DeviceViews,
        "audit-logs": modules.AuditViews,
    },
    "analytics": {"kpi-metrics": modules.KpiViews},
}


def routes():
    for module, resources in RESOURCES.items():
        router = SimpleRouter()
        for name, views in resources.items():
            router.register(name, views, basename=f"{module}-{name}")
        yield path(MODULES[module].lstrip("/"), include(router.urls))


fallback = SimpleRouter()
fallback.register("timeline-events", incidents.TimelineViews, basename="timeline-events")  # section 7.4

urlpatterns = [
    *routes(),
    path("api/collaboration-war-rooms/", include(fallback.urls)),
    path("api/monitoring/health-checks/summary/", modules.MonitoringSummary.as_view()),
    path("security/api/auth/login/", modules.Login.as_view()),
    path("security/api/auth/logout/", modules.Logout.as_view()),
    path("security/api/auth/profile/", modules.Profile.as_view()),
    path("security/api/auth/mfa-status/", modules.MfaStatus.as_view()),
    path("security/api/auth/change-password/", modules.ChangePassword.as_view()),
    re_path(r"^media/(?P<path>.*)$", serve, {"document_root": settings.MEDIA_ROOT}),
    path("_sandbox/<str:call>/", control.control),
    path("_sandbox/<str:call>/<str:name>/", control.control),
]
