"""ETB's tables as far as docs/etb-contract.md sections 7 to 10 show them. Fields keep the contract's spelling.

Lists and objects that ETB only hands through are JSON columns. Nothing here reads the network.
"""

import uuid
from datetime import timedelta

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models
from django.utils import timezone

SEVERITIES = ("INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL", "EMERGENCY")
LEVELS = ("PUBLIC", "INTERNAL", "CONFIDENTIAL", "RESTRICTED", "TOP_SECRET")  # section 2.5, level = position + 1
CATEGORIES = ("Infrastructure", "Application", "Security", "User Experience", "Data", "Integration")
PRIORITIES = ("P1", "P2", "P3", "P4")
STATUSES = (
    "OPEN", "IN_PROGRESS", "RESOLVED", "CLOSED", "CANCELLED",
    "NEW", "ACKNOWLEDGED", "INVESTIGATING", "ON_HOLD", "REOPENED",
)  # fmt: skip
FINAL = ("RESOLVED", "CLOSED", "CANCELLED")
FRAMEWORKS = {
    "GDPR": "General Data Protection Regulation",
    "HIPAA": "HIPAA",
    "SOX": "Sarbanes-Oxley Act",
    "ISO27001": "ISO/IEC 27001",
}


def choice(*names: str, **more) -> models.CharField:
    return models.CharField(max_length=40, choices=[(name, name) for name in names], **more)


def text(**more) -> models.TextField:
    return models.TextField(blank=True, default="", **more)


def items() -> models.JSONField:
    return models.JSONField(blank=True, default=list)


def mapping() -> models.JSONField:
    return models.JSONField(blank=True, default=dict)


def moment() -> models.DateTimeField:
    return models.DateTimeField(null=True, blank=True)


def person(name: str) -> models.ForeignKey:
    return models.ForeignKey("User", null=True, blank=True, on_delete=models.SET_NULL, related_name=name)


def level() -> models.CharField:
    return choice(*LEVELS, null=True, blank=True)


class Row(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        abstract = True
        ordering = ["-created_at", "id"]

    def touch(self, **changes) -> None:
        """Sets the fields and `updated_at`, and saves."""
        for name, value in changes.items():
            setattr(self, name, value)
        self.updated_at = timezone.now()
        self.save()


class DataClassification(Row):
    name = choice(*LEVELS, unique=True)
    level = models.PositiveIntegerField()
    description = text()
    requires_clearance = models.BooleanField(default=True)


class User(AbstractBaseUser, Row):
    USERNAME_FIELD = "username"
    REQUIRED_FIELDS: list[str] = []
    objects = BaseUserManager()

    username = models.CharField(max_length=150, unique=True)
    email = models.EmailField(blank=True, default="")
    first_name = text()
    last_name = text()
    department = text()
    job_title = text()
    employee_id = text()
    is_active = models.BooleanField(default=True)
    is_locked = models.BooleanField(default=False)
    mfa_enabled = models.BooleanField(default=False)
    roles = items()
    clearance = models.ForeignKey(DataClassification, null=True, blank=True, on_delete=models.SET_NULL)

    class Meta:
        ordering = ["username"]

    @property
    def level(self) -> int:
        """1 (`PUBLIC`) to 5; no clearance known is 1 (section 10.3)."""
        return self.clearance.level if self.clearance else 1


class Incident(Row):
    incident_number = models.CharField(max_length=40, blank=True, editable=False)
    title = models.CharField(max_length=255)
    description = text()
    severity = choice(*SEVERITIES)
    priority = choice(*PRIORITIES, default="P3")
    category = choice(*CATEGORIES, blank=True, default="")
    subcategory = text()
    status = choice(*STATUSES, default="OPEN")
    classification_confidence = models.FloatField(null=True, blank=True)
    suggested_severity = choice(*SEVERITIES, null=True, blank=True)
    severity_confidence = models.FloatField(null=True, blank=True)
    assigned_to = person("assigned")
    reporter = person("reported")
    affected_users = models.PositiveIntegerField(default=0)
    business_impact = text()
    estimated_downtime = models.DurationField(null=True, blank=True)
    is_duplicate = models.BooleanField(default=False)
    original_incident = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL)
    is_sensitive = models.BooleanField(default=False)
    data_classification = level()
    required_clearance = level()
    tags = items()
    affected_services = items()
    acknowledged_at = moment()
    resolved_at = moment()
    closed_at = moment()


def of_incident(**more) -> models.ForeignKey:
    return models.ForeignKey(Incident, on_delete=models.CASCADE, **more)


class TimelineEvent(Row):
    incident = of_incident(related_name="events")
    event_type = choice(
        "INCIDENT_CREATED",
        "STATUS_CHANGED",
        "SEVERITY_CHANGED",
        "ASSIGNED",
        "SLA_BREACHED",
        "ESCALATED",
        "RUNBOOK_STARTED",
        "RUNBOOK_COMPLETED",
        "MESSAGE_PINNED",
        "FILE_ADDED",
        "NOTE",
        "OTHER",
        default="NOTE",
    )
    title = models.CharField(max_length=255)
    description = text()
    source_type = choice("SYSTEM", "MANUAL", "INTEGRATION", default="MANUAL")
    event_time = models.DateTimeField(default=timezone.now)
    created_by = person("+")
    event_data = mapping()
    is_critical_event = models.BooleanField(default=False)
    related_war_room = models.UUIDField(null=True, blank=True)
    external_ref = text()

    class Meta:
        ordering = ["event_time", "created_at", "id"]


class BusinessHours(Row):
    name = models.CharField(max_length=200)
    description = text()
    timezone = models.CharField(max_length=60, default="UTC")
    weekday_start = models.TimeField(default="09:00")
    weekday_end = models.TimeField(default="17:00")
    holidays = items()
    day_overrides = mapping()
    is_active = models.BooleanField(default=True)
    is_default = models.BooleanField(default=False)


class Rule(Row):
    """What an SLA definition and an escalation policy share: whom they match; an empty list matches all."""

    name = models.CharField(max_length=200)
    description = text()
    incident_categories = items()
    incident_severities = items()
    is_active = models.BooleanField(default=True)
    is_default = models.BooleanField(default=False)

    class Meta(Row.Meta):
        abstract = True

    def matches(self, incident: Incident) -> bool:
        return (not self.incident_severities or incident.severity in self.incident_severities) and (
            not self.incident_categories or incident.category in self.incident_categories
        )


class SlaDefinition(Rule):
    sla_type = choice("RESPONSE_TIME", "RESOLUTION_TIME", "ACKNOWLEDGMENT_TIME", "FIRST_RESPONSE")
    incident_priorities = items()
    target_duration_minutes = models.PositiveIntegerField()
    business_hours_only = models.BooleanField(default=False)
    business_hours = models.ForeignKey(BusinessHours, null=True, blank=True, on_delete=models.SET_NULL)
    escalation_enabled = models.BooleanField(default=False)
    escalation_threshold_percent = models.FloatField(default=100)


class EscalationPolicy(Rule):
    escalation_type = choice("TIME_BASED", "SEVERITY_BASED", "RESOURCE_BASED", "CUSTOM", default="TIME_BASED")
    trigger_condition = choice(
        "SLA_BREACH", "SLA_THRESHOLD", "NO_RESPONSE", "NO_ACKNOWLEDGMENT", "CUSTOM", default="SLA_BREACH"
    )
    trigger_delay_minutes = models.PositiveIntegerField(default=0)
    escalation_steps = items()
    notification_channels = items()


class SlaInstance(Row):
    incident = of_incident(related_name="slas")
    sla_definition = models.ForeignKey(SlaDefinition, on_delete=models.CASCADE)
    escalation_policy = models.ForeignKey(EscalationPolicy, null=True, blank=True, on_delete=models.SET_NULL)
    status = choice("ACTIVE", "MET", "BREACHED", "CANCELLED", "PAUSED", default="ACTIVE")
    started_at = models.DateTimeField(default=timezone.now)
    target_time = models.DateTimeField()
    met_at = moment()
    breached_at = moment()
    response_time = models.DurationField(null=True, blank=True)
    escalation_triggered = models.BooleanField(default=False)
    escalation_triggered_at = moment()
    escalation_level = models.PositiveIntegerField(default=0)


class EscalationInstance(Row):
    incident = of_incident(related_name="escalations")
    escalation_policy = models.ForeignKey(EscalationPolicy, null=True, on_delete=models.SET_NULL)
    sla_instance = models.ForeignKey(SlaInstance, null=True, blank=True, on_delete=models.SET_NULL)
    status = choice("PENDING", "TRIGGERED", "ACKNOWLEDGED", "RESOLVED", "CANCELLED", default="TRIGGERED")
    escalation_level = models.PositiveIntegerField(default=1)
    current_step = models.PositiveIntegerField(default=1)
    reason = text()
    triggered_at = models.DateTimeField(default=timezone.now)
    acknowledged_at = moment()
    acknowledged_by = person("+")
    resolved_at = moment()
    notifications_sent = items()
    actions_taken = items()


class OncallRotation(Row):
    name = models.CharField(max_length=200)
    description = text()
    team_name = text()
    rotation_type = choice("WEEKLY", "DAILY", "MONTHLY", "CUSTOM", default="WEEKLY")
    timezone = models.CharField(max_length=60, default="UTC")
    external_system = choice("PAGERDUTY", "OPSGENIE", "INTERNAL", "CUSTOM", default="INTERNAL")
    external_system_id = text()
    schedule_config = mapping()
    status = choice("ACTIVE", "PAUSED", "INACTIVE", default="ACTIVE")


class OncallAssignment(Row):
    rotation = models.ForeignKey(OncallRotation, on_delete=models.CASCADE, related_name="assignments")
    user = models.ForeignKey(User, on_delete=models.CASCADE)
    start_time = models.DateTimeField()
    end_time = models.DateTimeField()
    status = choice("SCHEDULED", "ACTIVE", "COMPLETED", "CANCELLED", default="SCHEDULED")
    handoff_notes = text()
    handed_off_from = person("+")
    handoff_time = moment()
    incidents_handled = models.PositiveIntegerField(default=0)
    response_time_avg = models.DurationField(null=True, blank=True)


class NotificationTemplate(Row):
    name = models.CharField(max_length=200)
    template_type = text()
    channel = choice("EMAIL", "SMS", "SLACK", "TEAMS", "WEBHOOK", default="EMAIL")
    subject_template = text()
    body_template = text()
    is_active = models.BooleanField(default=True)


class Runbook(Row):
    name = models.CharField(max_length=200)
    description = text()
    version = models.CharField(max_length=20, default="1.0")
    trigger_type = choice("MANUAL", "AUTOMATIC", "SCHEDULED", "WEBHOOK", "CHATOPS", default="CHATOPS")
    trigger_conditions = mapping()
    steps = items()
    category = text()
    tags = items()
    status = choice("DRAFT", "ACTIVE", "INACTIVE", "DEPRECATED", default="ACTIVE")
    is_public = models.BooleanField(default=True)
    estimated_duration = models.DurationField(null=True, blank=True)
    requires_approval = models.BooleanField(default=False)
    parameters_schema = mapping()
    execution_count = models.PositiveIntegerField(default=0)
    success_rate = models.FloatField(default=0)
    last_executed_at = moment()
    created_by = person("+")
    outcome = choice("COMPLETED", "FAILED", "NEVER", default="COMPLETED")  # the sandbox's own; never served


class RunbookExecution(Row):
    runbook = models.ForeignKey(Runbook, on_delete=models.CASCADE)
    incident = of_incident(null=True, blank=True)
    triggered_by = person("+")
    trigger_type = choice("MANUAL", "AUTOMATIC", "SCHEDULED", "WEBHOOK", "CHATOPS", default="MANUAL")
    trigger_data = mapping()
    parameters = mapping()
    status = choice("PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", default="PENDING")
    current_step = models.PositiveIntegerField(default=0)
    total_steps = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(default=timezone.now)
    completed_at = moment()
    duration = models.DurationField(null=True, blank=True)
    execution_log = items()
    error_message = text()
    output_data = mapping()

    def write(self, message: str, at, log_level: str = "INFO") -> None:
        stamp = at.isoformat().replace("+00:00", "Z")
        entry = {"timestamp": stamp, "step": self.current_step, "level": log_level, "message": message}
        self.execution_log = [*self.execution_log, entry]

    def finish(self, status: str, at, error: str = "") -> None:
        self.write(error or f"Run {status.lower()}.", at, "ERROR" if status in ("FAILED", "TIMEOUT") else "INFO")
        output = {"result": "ok", "steps": self.current_step} if status == "COMPLETED" else {}
        self.touch(
            status=status, completed_at=at, duration=at - self.started_at, error_message=error, output_data=output
        )

    def advance(self, step_seconds: float) -> None:
        """Catches up with the clock: a step takes `step_seconds`. A failing runbook fails in its last step."""
        if self.status not in ("PENDING", "RUNNING"):
            return
        done = int((timezone.now() - self.started_at).total_seconds() / step_seconds) if step_seconds else 10**6
        if self.runbook.outcome == "NEVER":
            done = min(done, max(self.total_steps - 1, 0))
        before = self.status, self.current_step
        for step in self.runbook.steps[self.current_step : done]:
            self.current_step += 1
            at = self.started_at + timedelta(seconds=step_seconds * self.current_step)
            if self.runbook.outcome == "FAILED" and self.current_step == self.total_steps:
                self.finish("FAILED", at, f"Step '{step['name']}' ended with exit status 1.")
                return
            self.write(f"Step '{step['name']}' done.", at)
        if done >= self.total_steps and self.runbook.outcome == "COMPLETED":
            self.finish("COMPLETED", self.started_at + timedelta(seconds=step_seconds * self.total_steps))
        elif before != ("RUNNING", self.current_step):
            self.touch(status="RUNNING")


class MaintenanceWindow(Row):
    name = models.CharField(max_length=200)
    description = text()
    start_time = models.DateTimeField()
    end_time = models.DateTimeField()
    affected_services = items()
    suppress_notifications = models.BooleanField(default=True)
    suppress_escalations = models.BooleanField(default=True)
    suppress_incident_creation = models.BooleanField(default=False)
    status = choice("SCHEDULED", "ACTIVE", "COMPLETED", "CANCELLED", default="SCHEDULED")


class ChatopsCommand(Row):
    command = models.CharField(max_length=100)
    platform = choice("SLACK", "TEAMS", "DISCORD", "MATTERMOST", default="SLACK")
    allowed_users = items()
    allowed_channels = items()
    status = choice("ACTIVE", "INACTIVE", default="ACTIVE")


class Framework(Row):
    name = models.CharField(max_length=200)
    framework_type = models.CharField(max_length=40, choices=list(FRAMEWORKS.items()))
    version = models.CharField(max_length=40)
    description = text()
    applicable_regions = items()
    industry_sectors = items()
    is_active = models.BooleanField(default=True)
    effective_date = models.DateField()
    review_date = models.DateField(null=True, blank=True)
    requirements_count = models.PositiveIntegerField(default=0)


class Evidence(Row):
    incident = of_incident()
    requirement = models.UUIDField(null=True, blank=True)
    title = models.CharField(max_length=255)
    description = text()
    evidence_type = choice(
        "LOG", "SCREENSHOT", "DOCUMENT", "CHAT_LOG", "CONFIGURATION", "AUDIT_TRAIL", "OTHER", default="OTHER"
    )
    file = models.FileField(upload_to="evidence", null=True, blank=True)
    file_hash = models.CharField(max_length=64, blank=True, default="")
    file_size = models.PositiveBigIntegerField(null=True, blank=True)
    mime_type = text()
    source = text()
    source_reference = text()
    collected_by = person("+")
    collected_at = models.DateTimeField(default=timezone.now)
    status = choice("COLLECTED", "VERIFIED", "REJECTED", "ARCHIVED", default="COLLECTED")
    is_verified = models.BooleanField(default=False)
    verified_by = person("+")
    verified_at = moment()
    data_classification = level()
    retention_until = moment()
    chain_of_custody = items()


class RetentionPolicy(Row):
    name = models.CharField(max_length=200)
    description = text()
    data_type = choice("INCIDENT", "EVIDENCE", "CHAT_MESSAGE", "CHAT_FILE", "AUDIT_LOG", "ALL")
    data_classification = level()
    retention_period_days = models.PositiveIntegerField()
    action = choice("ARCHIVE", "DELETE", "ANONYMIZE", "REVIEW", default="ARCHIVE")
    auto_apply = models.BooleanField(default=True)
    applicable_frameworks = models.ManyToManyField(Framework, blank=True)
    is_active = models.BooleanField(default=True)


class LegalHold(Row):
    name = models.CharField(max_length=200)
    case_number = text()
    description = text()
    reason = text()
    status = choice("ACTIVE", "RELEASED", "EXPIRED", "DRAFT", default="ACTIVE")
    scope = mapping()
    incidents = models.ManyToManyField(Incident, blank=True)
    custodians = models.ManyToManyField(User, blank=True)
    data_types = items()
    effective_date = models.DateTimeField(default=timezone.now)
    expiry_date = moment()
    issued_by = person("+")
    released_at = moment()
    released_by = person("+")


class AuditLog(Row):
    action_type = models.CharField(max_length=100)
    resource_type = text()
    resource_id = text()
    incident = of_incident(null=True, blank=True)
    user = person("+")
    details = mapping()
    severity = choice(*SEVERITIES, default="INFO")
    timestamp = models.DateTimeField(default=timezone.now)
    ip_address = models.GenericIPAddressField(null=True, blank=True)
    previous_hash = models.CharField(max_length=64, blank=True, editable=False)
    entry_hash = models.CharField(max_length=64, blank=True, editable=False)


class KnowledgeArticle(Row):
    title = models.CharField(max_length=255)
    slug = models.SlugField(max_length=255)
    summary = text()
    content = text()
    article_type = choice(
        "RUNBOOK", "TROUBLESHOOTING", "BEST_PRACTICE", "LESSON_LEARNED", "POSTMORTEM_SUMMARY", "FAQ", "HOW_TO"
    )
    category = text()
    subcategory = text()
    tags = items()
    status = choice("DRAFT", "IN_REVIEW", "APPROVED", "PUBLISHED", "ARCHIVED", default="PUBLISHED")
    difficulty_level = choice("BEGINNER", "INTERMEDIATE", "ADVANCED", "EXPERT", default="INTERMEDIATE")
    related_services = items()
    related_components = items()
    author = person("+")
    data_classification = level()
    view_count = models.PositiveIntegerField(default=0)
    average_rating = models.FloatField(null=True, blank=True)
    rating_count = models.PositiveIntegerField(default=0)
    published_at = moment()


class Recommendation(Row):
    incident = of_incident()
    recommendation_type = choice("SIMILAR_INCIDENT", "SOLUTION", "KNOWLEDGE_ARTICLE", "RUNBOOK", "EXPERT")
    title = models.CharField(max_length=255)
    description = text()
    related_incident = of_incident(null=True, blank=True, related_name="+")
    knowledge_article = models.ForeignKey(KnowledgeArticle, null=True, blank=True, on_delete=models.CASCADE)
    suggested_expert = person("+")
    suggested_actions = items()
    similarity_score = models.FloatField(default=0)
    confidence_score = models.FloatField(default=0)
    confidence_level = choice("LOW", "MEDIUM", "HIGH", "VERY_HIGH", default="MEDIUM")
    reasoning = text()
    is_applied = models.BooleanField(default=False)
    applied_at = moment()


class Postmortem(Row):
    title = models.CharField(max_length=255)
    incident = of_incident()
    status = choice("DRAFT", "IN_REVIEW", "APPROVED", "PUBLISHED", "ARCHIVED", default="DRAFT")
    severity = choice(*SEVERITIES)
    owner = person("+")
    is_automated = models.BooleanField(default=False)
    completion_percentage = models.FloatField(default=0)
    due_date = moment()
    executive_summary = text()
    timeline = items()
    root_cause_analysis = text()
    lessons_learned = items()


class DevicePosture(Row):
    owner = models.ForeignKey(User, on_delete=models.CASCADE, editable=False)
    device_id = models.CharField(max_length=100)
    device_name = text()
    device_type = models.CharField(max_length=20, default="LAPTOP")
    os_type = models.CharField(max_length=20, blank=True, default="")
    os_version = text()
    is_managed = models.BooleanField(default=False)
    has_antivirus = models.BooleanField(default=False)
    firewall_enabled = models.BooleanField(default=False)
    encryption_enabled = models.BooleanField(default=False)
    screen_lock_enabled = models.BooleanField(default=False)
    biometric_auth = models.BooleanField(default=False)
    network_type = text()
    vpn_connected = models.BooleanField(default=False)
    risk_score = models.PositiveIntegerField(default=0, editable=False)


class KpiMetric(Row):
    name = models.CharField(max_length=200)
    description = text()
    metric_type = models.CharField(max_length=40)
    aggregation_type = models.CharField(max_length=40, default="AVERAGE")
    incident_categories = items()
    incident_severities = items()
    incident_priorities = items()
    calculation_formula = models.TextField(null=True, blank=True)
    time_window_hours = models.PositiveIntegerField(default=24)
    is_active = models.BooleanField(default=True)
    is_system_metric = models.BooleanField(default=False)
    created_by = person("+")
    measurement_count = models.PositiveIntegerField(default=0, editable=False)
    latest_measurement = models.JSONField(null=True, editable=False)  # decimals as strings (section 10.5)
