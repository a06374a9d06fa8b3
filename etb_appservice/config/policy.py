"""From settings to what flows are given: the operator's choices in the domain's words. Pure."""

from etb_appservice.config.settings import Settings
from etb_appservice.domain.classification import ClassificationMap
from etb_appservice.domain.ghosts import ghosts_of
from etb_appservice.domain.partners import Partner
from etb_appservice.domain.people import PeopleMap
from etb_appservice.domain.policy import (
    AnnouncementPolicy,
    ApprovalPolicy,
    BreakGlassPolicy,
    CadencePolicy,
    ClearancePolicy,
    CommandPolicy,
    DevicePolicy,
    DutyPolicy,
    FilePolicy,
    KeyPolicy,
    Policy,
    ReactionPolicy,
    RolePolicy,
    RunbookPolicy,
)
from etb_appservice.domain.rooms import RoomPolicy, RoomRules
from etb_appservice.domain.text import folded

_HOUR_MS = 3600 * 1000


def policy(settings: Settings) -> Policy:
    """The policy that these settings ask for."""
    rooms, commands, encryption = settings.rooms, settings.commands, settings.encryption
    return Policy(
        rooms=RoomPolicy(
            bot=settings.bot_id,
            version=rooms.version,
            alias_prefix=rooms.alias_prefix,
            additional_creators=rooms.additional_creators,
            rotation_period_ms=rooms.rotation_hours * _HOUR_MS,
            rotation_period_msgs=rooms.rotation_messages,
            servers=frozenset(rooms.servers),
            rules={
                level: RoomRules(
                    row.visibility,
                    row.federate,
                    row.title_in_state,
                    row.keys_to_invited,
                    signed_devices_only=row.signed_devices_only is not False,
                )
                for level, row in rooms.rule_table().items()
            },
        ),
        people=PeopleMap(
            settings.people.template,
            dict(settings.people.entries),
            ghosts_of(f"@{settings.appservice.user_prefix}", settings.homeserver.domain),
        ),
        classification=ClassificationMap(
            default=settings.classification.default,
            by_category=dict(settings.classification.by_category),
            by_severity=dict(settings.classification.by_severity),
            sensitive=settings.classification.sensitive,
        ),
        operators=frozenset(settings.control_room.operators),
        server_name=settings.homeserver.domain,
        commands=CommandPolicy(
            prefixes=commands.prefixes,
            per_minute=commands.per_minute,
            burst=commands.burst,
            etb_wait_s=commands.etb_wait_s,
            late_after_s=commands.late_after_s,
            answer_within_s=commands.answer_within_s,
            declared_category=commands.declared_category,
        ),
        approvals=ApprovalPolicy(
            commands=frozenset(name.casefold() for name in settings.approvals.commands),
            runbooks=frozenset(folded(name) for name in settings.approvals.runbooks),
            needed=settings.approvals.needed,
            role=settings.approvals.role,
            within_s=settings.approvals.minutes * 60.0,
        ),
        break_glass=BreakGlassPolicy(
            first=frozenset(settings.break_glass.first),
            second=frozenset(settings.break_glass.second),
            most_hours=settings.break_glass.most_hours,
            review_after_hours=settings.break_glass.review_after_hours,
        ),
        runbooks=RunbookPolicy(watch_s=settings.runbooks.watch_minutes * 60.0),
        keys=KeyPolicy(
            tell_after_s=encryption.tell_after_s,
            give_up_after_s=encryption.give_up_after_s,
        ),
        roles=RolePolicy(
            meaning=dict(settings.roles.meaning),
            by_category={name: frozenset(roles) for name, roles in settings.roles.by_category.items()},
        ),
        clearance=ClearancePolicy(
            hold_s=settings.clearance.hold_hours * 3600.0,
            stay_up_to=settings.clearance.stay_up_to,
        ),
        cadence=CadencePolicy(
            update_minutes=dict(settings.cadence.update_minutes),
            snooze=dict(settings.cadence.snooze),
            stop=settings.cadence.stop,
            commander_minutes=settings.cadence.commander_minutes,
            catch_up_minutes=settings.cadence.catch_up_minutes,
        ),
        reactions=ReactionPolicy(actions=dict(settings.reactions.actions)),
        duty=DutyPolicy(
            thresholds=tuple(sorted(set(settings.duty.thresholds))),
            page_ack_minutes=settings.duty.page_ack_minutes,
            join_minutes=settings.duty.join_minutes,
            look_every_s=settings.duty.look_every_s,
        ),
        devices=DevicePolicy(remove_after_s=settings.devices.remove_after_hours * 3600.0),
        announcements=AnnouncementPolicy(
            members=frozenset(settings.announcements.members),
            classification=settings.announcements.classification,
            severity=settings.announcements.severity,
        ),
        files=FilePolicy(
            most_bytes=settings.files.most_mib * 1024 * 1024,
            blocked=frozenset(one.strip().lower() for one in settings.files.blocked),
            alone_after_s=settings.files.alone_after_s,
            at_once=settings.files.at_once,
        ),
        partners=tuple(
            Partner(
                name=name,
                servers=frozenset(row.servers),
                people=frozenset(row.people),
                patterns=row.patterns,
                ceiling=row.ceiling,
                roles=frozenset(row.roles),
            )
            for name, row in settings.partners.items()
        ),
        read_only_after_hours=settings.closing.read_only_after_hours,
        exports_at_end=settings.closing.export,
        history_hours=rooms.history_hours,
        administers=settings.homeserver.admin_user is not None,
        drill_tags=settings.incidents.drill_tags,
        own_users=f"@{settings.appservice.user_prefix}",
    )
