"""The sandbox's data: people, rules, incidents, runbooks and articles of a small company.

Ids are uuid5 of a kind and a name, so that they are the same in every sandbox; times are relative to the seeding.
"""

import hashlib
import uuid
from datetime import date, timedelta

from django.apps import apps
from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify
from rest_framework.authtoken.models import Token

from etb_sandbox import models as etb
from etb_sandbox.incidents import open_incident
from etb_sandbox.world import ARTICLES, INCIDENTS, LEVELS, MAIN_ROTATION, PARAMETERS, PEOPLE, RUNBOOKS, SERVICE

SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://etb.example/sandbox")


def uid(kind: str, name: str) -> uuid.UUID:
    return uuid.uuid5(SPACE, f"{kind}:{name}")


def token_of(username: str) -> str:
    """40 hexadecimal digits, like DRF's own; the same in every sandbox."""
    return hashlib.sha1(f"etb sandbox token of {username}".encode()).hexdigest()  # public anyway


def service_token() -> str:
    row = Token.objects.filter(user__username=SERVICE).first()
    return row.key if row else token_of(SERVICE)


def give_token(user: etb.User, key: str | None = None) -> str:
    key = key or token_of(user.username)
    if not Token.objects.filter(user=user, key=key).exists():
        Token.objects.filter(user=user).delete()
        Token.objects.create(user=user, key=key)
    return key


def plant_when_empty(*, incidents: bool, service_token: str) -> None:
    with transaction.atomic():
        if not etb.User.objects.exists():
            plant(incidents=incidents, service_token=service_token)
        give_token(etb.User.objects.get(username=SERVICE), service_token)


def plant(*, incidents: bool, service_token: str) -> None:
    """Wipes every table and seeds it anew."""
    Token.objects.all().delete()
    for model in reversed(list(apps.get_app_config("etb_sandbox").get_models())):
        model.objects.all().delete()
    people = plant_people()
    give_token(people[SERVICE], service_token)
    plant_rules(people)
    plant_runbooks(people)
    plant_articles(people)
    if incidents:
        plant_incidents(people)


def make(model, name: str, **fields):
    """One row whose id follows from its name; the name also fills `name` or `title`."""
    label = "name" if hasattr(model, "name") else "title"
    return model.objects.create(id=uid(model.__name__, name), **({label: name} | fields))


def plant_people() -> dict[str, etb.User]:
    for number, (name, description) in enumerate(LEVELS.items(), 1):
        make(etb.DataClassification, name, level=number, description=description, requires_clearance=number > 1)
    levels = {row.name: row for row in etb.DataClassification.objects.all()}
    people = {}
    for number, (username, first, last, department, job, clearance, roles) in enumerate(PEOPLE, 1):
        user = etb.User(
            id=uid("user", username),
            username=username,
            email=f"{username}@etb.example",
            first_name=first,
            last_name=last,
            department=department,
            job_title=job,
            employee_id=f"E{number:04d}",
            clearance=levels[clearance],
            roles=roles,
            is_active=username != "ivan",
            mfa_enabled=username == "frank",  # with the token 000000
        )
        user.set_password(f"{username}-sandbox")
        user.save()
        give_token(user)
        people[username] = user
    return people


def plant_rules(people: dict[str, etb.User]) -> None:
    now = timezone.now()
    office = make(
        etb.BusinessHours,
        "Office hours Berlin",
        description="Monday to Friday, nine to five",
        timezone="Europe/Berlin",
        holidays=["2026-01-01", "2026-12-25"],
        is_default=True,
    )
    for sla_type, severity, minutes in (
        ("ACKNOWLEDGMENT_TIME", "CRITICAL", 15),
        ("RESOLUTION_TIME", "CRITICAL", 240),
        ("ACKNOWLEDGMENT_TIME", "HIGH", 30),
        ("RESOLUTION_TIME", "HIGH", 480),
        ("RESPONSE_TIME", "MEDIUM", 120),
        ("RESOLUTION_TIME", "MEDIUM", 1440),
        ("RESOLUTION_TIME", "LOW", 4320),
    ):
        make(
            etb.SlaDefinition,
            f"{severity.title()} {sla_type.split('_')[0].lower()}",
            sla_type=sla_type,
            incident_severities=[severity, "EMERGENCY"] if severity == "CRITICAL" else [severity],
            target_duration_minutes=minutes,
            escalation_enabled=severity == "CRITICAL",
            business_hours_only=severity == "LOW",
            business_hours=office if severity == "LOW" else None,
        )
    steps = [
        {
            "level": 1,
            "delay_minutes": 0,
            "actions": ["notify"],
            "targets": ["ONCALL"],
            "channels": ["EMAIL", "SMS"],
        },
        {"level": 2, "delay_minutes": 15, "actions": ["notify"], "targets": ["alice"], "channels": ["SMS"]},
        {
            "level": 3,
            "delay_minutes": 30,
            "actions": ["notify", "open bridge"],
            "targets": ["olivia"],
            "channels": ["SMS"],
        },
    ]
    make(
        etb.EscalationPolicy,
        "Default escalation",
        is_default=True,
        escalation_steps=steps[:2],
        notification_channels=["EMAIL"],
    )
    make(
        etb.EscalationPolicy,
        "Critical escalation",
        incident_severities=["CRITICAL", "EMERGENCY"],
        escalation_type="SEVERITY_BASED",
        escalation_steps=steps,
        notification_channels=["EMAIL", "SMS"],
    )
    make(
        etb.EscalationPolicy,
        "Security escalation",
        incident_categories=["Security"],
        escalation_steps=steps[1:],
        notification_channels=["SMS"],
    )
    primary = make(
        etb.OncallRotation,
        MAIN_ROTATION,
        team_name="Platform",
        timezone="Europe/Berlin",
        schedule_config={"members": ["bob", "dave", "frank"], "handoff": "MONDAY 09:00"},
    )
    make(
        etb.OncallRotation,
        "Security duty",
        team_name="Security",
        rotation_type="DAILY",
        external_system="PAGERDUTY",
        external_system_id="PSEC01",
        schedule_config={"members": ["carol"]},
    )  # nobody is on call
    week = timedelta(days=7)
    for username, start, status in (
        ("frank", now - week * 1.5, "COMPLETED"),
        ("bob", now - week / 2, "ACTIVE"),
        ("dave", now + week / 2, "SCHEDULED"),
    ):
        etb.OncallAssignment.objects.create(
            id=uid("OncallAssignment", username),
            rotation=primary,
            user=people[username],
            start_time=start,
            end_time=start + week,
            status=status,
            handed_off_from=people["frank"] if username == "bob" else None,
            handoff_notes="The billing queue is slow on Mondays." if username == "bob" else "",
            handoff_time=start if username == "bob" else None,
        )
    make(
        etb.NotificationTemplate,
        "SLA warning",
        template_type="SLA_WARNING",
        subject_template="SLA at {percent}%",
        body_template="{incident_title} is due at {target_time}.",
    )
    make(
        etb.MaintenanceWindow,
        "Storage firmware",
        start_time=now - timedelta(hours=1),
        status="ACTIVE",
        end_time=now + timedelta(hours=3),
        affected_services=["archive-storage"],
    )
    make(
        etb.MaintenanceWindow,
        "Database upgrade",
        start_time=now + timedelta(days=2),
        end_time=now + timedelta(days=2, hours=4),
        affected_services=["billing-db"],
    )
    etb.ChatopsCommand.objects.create(id=uid("ChatopsCommand", "/status"), command="/status")
    gdpr = make(
        etb.Framework,
        "EU General Data Protection Regulation",
        framework_type="GDPR",
        version="2016/679",
        applicable_regions=["EU"],
        industry_sectors=["All"],
        effective_date=date(2018, 5, 25),
        review_date=date(2026, 5, 25),
        requirements_count=42,
    )
    make(
        etb.Framework,
        "ISO/IEC 27001 controls",
        framework_type="ISO27001",
        version="2022",
        applicable_regions=["Global"],
        industry_sectors=["All"],
        effective_date=date(2022, 10, 25),
        requirements_count=93,
    )
    for name, data_type, level, days, action in (
        ("Chat messages", "CHAT_MESSAGE", None, 730, "ARCHIVE"),
        ("Confidential chat messages", "CHAT_MESSAGE", "CONFIDENTIAL", 2555, "DELETE"),
        ("Chat files", "CHAT_FILE", None, 365, "DELETE"),
        ("Evidence", "EVIDENCE", None, 3650, "REVIEW"),
    ):
        policy = make(
            etb.RetentionPolicy,
            name,
            data_type=data_type,
            data_classification=level,
            retention_period_days=days,
            action=action,
        )
        policy.applicable_frameworks.add(gdpr)
    for name, metric_type, value in (
        ("Mean time to acknowledge", "MTTA", "15.5"),
        ("Mean time to resolve", "MTTR", "184.25"),
    ):
        measured = {
            "value": value,
            "unit": "minutes",
            "calculated_at": now.isoformat().replace("+00:00", "Z"),
            "incident_count": 23,
        }
        make(
            etb.KpiMetric,
            name,
            metric_type=metric_type,
            incident_categories=["Infrastructure", "Application"],
            incident_severities=["CRITICAL", "HIGH"],
            incident_priorities=["P1", "P2"],
            is_system_metric=True,
            measurement_count=90,
            latest_measurement=measured,
        )


def plant_runbooks(people: dict[str, etb.User]) -> None:
    for number, (name, description, steps, outcome, status, approval) in enumerate(RUNBOOKS):
        make(
            etb.Runbook,
            name,
            description=description,
            steps=[
                {"name": step, "action": "script", "timeout": 300, "parameters": {}, "requires_approval": approval}
                for step in steps
            ],
            category="Recovery",
            tags=["dangerous"] if approval else ["routine"],
            status=status,
            outcome=outcome,
            requires_approval=approval,
            parameters_schema=PARAMETERS.get(name, {}),
            estimated_duration=timedelta(minutes=2 * len(steps)),
            execution_count=10 + number,
            success_rate=0.0 if outcome == "FAILED" else 95.0,
            created_by=people["olivia"],
        )


def plant_articles(people: dict[str, etb.User]) -> None:
    now = timezone.now()
    for number, (title, kind, category, services, level, summary, content) in enumerate(ARTICLES):
        make(
            etb.KnowledgeArticle,
            title,
            slug=slugify(title),
            summary=summary,
            content=content,
            article_type=kind,
            category=category,
            tags=[category.lower(), kind.lower()],
            status="DRAFT" if "draft" in title else "PUBLISHED",
            related_services=services,
            author=people["carol" if category == "Security" else "bob"],
            data_classification=level,
            view_count=10 * number,
            average_rating=4.5 if number % 2 else None,
            rating_count=2 if number % 2 else 0,
            published_at=now - timedelta(days=30 + number),
        )


def plant_incidents(people: dict[str, etb.User]) -> None:
    now, rows = timezone.now(), {}
    for key, title, severity, priority, category, status, age, reporter, assignee, level, services in INCIDENTS:
        began, touched = now - timedelta(minutes=age), now - timedelta(minutes=age * 0.9)
        row = etb.Incident(
            id=uid("Incident", key),
            created_at=began,
            updated_at=touched,
            title=title,
            description=f"{title}. Seen on {', '.join(services)}.",
            severity=severity,
            priority=priority,
            category=category,
            status=status,
            assigned_to=people.get(assignee),
            reporter=people[reporter],
            affected_users=0 if severity == "INFO" else age * 3,
            business_impact="Customers can't pay." if severity in ("CRITICAL", "EMERGENCY") else "",
            estimated_downtime=timedelta(hours=2) if severity == "CRITICAL" else None,
            is_sensitive=level in etb.LEVELS[2:],
            data_classification=level,
            required_clearance=level,
            tags=[category.lower(), "seed"],
            affected_services=services,
            acknowledged_at=None if status == "OPEN" else touched,
            resolved_at=touched if status in etb.FINAL else None,
            closed_at=touched if status == "CLOSED" else None,
        )
        open_incident(row, None)
        if status != "OPEN":
            first = etb.SlaInstance.objects.filter(incident=row).exclude(
                sla_definition__sla_type="RESOLUTION_TIME"
            )
            first.update(status="MET", met_at=touched, response_time=touched - began)
        if status in etb.FINAL:
            etb.SlaInstance.objects.filter(incident=row).update(status="MET", met_at=touched)
        rows[key] = row
    postmortem = make(
        etb.Postmortem,
        "Postmortem: Billing queue backlog",
        incident=rows["queue"],
        status="PUBLISHED",
        severity="HIGH",
        owner=people["bob"],
        completion_percentage=100.0,
        due_date=now + timedelta(days=5),
        executive_summary="A consumer stood still for two hours and invoices were late.",
        root_cause_analysis="A lock was held across a call to a partner that never answered.",
        lessons_learned=["Time out every call.", "Alert on queue age."],
        timeline=[
            {"timestamp": "2025-11-20T08:00:00Z", "event": "Backlog grows", "description": "10,000 messages"}
        ],
    )
    make(
        etb.Postmortem,
        "Postmortem: Nightly data export failed",
        incident=rows["export"],
        severity="MEDIUM",
        owner=people["dave"],
        is_automated=True,
        completion_percentage=40.0,
        due_date=now - timedelta(days=1),
    )
    hold = make(
        etb.LegalHold,
        "Leak of customer records",
        case_number="LH-2025-007",
        description="Everything about the public file share is kept.",
        reason="Expected proceedings of the data protection authority.",
        scope={"incidents": [str(rows["leak"].id)]},
        data_types=["CHAT_MESSAGE", "CHAT_FILE", "EVIDENCE"],
        issued_by=people["erin"],
    )
    hold.incidents.add(rows["leak"])
    hold.custodians.add(people["carol"], people["alice"])
    article = etb.KnowledgeArticle.objects.get(id=uid("KnowledgeArticle", "Database connection pool exhausted"))
    for kind, title, more in (
        ("KNOWLEDGE_ARTICLE", article.title, {"knowledge_article": article}),
        ("SIMILAR_INCIDENT", postmortem.title, {"related_incident": rows["queue"]}),
        ("EXPERT", "Dave knows this database", {"suggested_expert": people["dave"]}),
    ):
        make(
            etb.Recommendation,
            title,
            incident=rows["billing"],
            recommendation_type=kind,
            similarity_score=0.82,
            confidence_score=0.9,
            confidence_level="VERY_HIGH",
            suggested_actions=["Read it"],
            reasoning="Same service, same symptoms.",
            **more,
        )
    etb.Evidence.objects.create(
        id=uid("Evidence", "share-log"),
        incident=rows["leak"],
        title="Access log of the file share",
        evidence_type="LOG",
        file_hash=hashlib.sha256(b"access log").hexdigest(),
        source="file-storage",
        collected_by=people["carol"],
        data_classification="RESTRICTED",
    )
