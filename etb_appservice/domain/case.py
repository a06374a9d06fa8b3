"""The case of a war room: what people have agreed on there and what the service does for them.

Each entry has an id that is unique within its war room and its kind, and says whether it is still open: what was
settled stays for the record. All of it is stored sealed.
"""

from etb_appservice.domain.approvals import Approval
from etb_appservice.domain.breakglass import BreakGlass, GlassReview
from etb_appservice.domain.cadence import Cadence
from etb_appservice.domain.closing import Closing
from etb_appservice.domain.conversation import Poll
from etb_appservice.domain.declared import Declaration
from etb_appservice.domain.devices import UnsignedDevice
from etb_appservice.domain.guests import Guest
from etb_appservice.domain.holds import LegalHold
from etb_appservice.domain.letters import Letter
from etb_appservice.domain.levels import SlaSeen
from etb_appservice.domain.links import Guesses, LinkCode, Linked
from etb_appservice.domain.media import Media
from etb_appservice.domain.pages import EscalationSeen, Page, Shift, Watch
from etb_appservice.domain.partners import PartnerAdmitted
from etb_appservice.domain.past import Levels
from etb_appservice.domain.pins import Pins
from etb_appservice.domain.posts import Post
from etb_appservice.domain.questions import Question
from etb_appservice.domain.reactions import Reaction
from etb_appservice.domain.roles import Admitted, Role
from etb_appservice.domain.rotation import Rotated
from etb_appservice.domain.runbooks import RunbookRun
from etb_appservice.domain.tasks import Task
from etb_appservice.domain.timeline import TimelineItem
from etb_appservice.domain.upgrades import Upgrade
from etb_appservice.domain.webroom import WebRoom

Entry = (
    TimelineItem
    | Role
    | Admitted
    | Letter
    | Declaration
    | Task
    | Post
    | Cadence
    | Reaction
    | Question
    | Approval
    | RunbookRun
    | Guest
    | Page
    | EscalationSeen
    | SlaSeen
    | Watch
    | Shift
    | Closing
    | Upgrade
    | Media
    | UnsignedDevice
    | BreakGlass
    | GlassReview
    | PartnerAdmitted
    | Levels
    | Rotated
    | Pins
    | Poll
    | LinkCode
    | Linked
    | Guesses
    | WebRoom
    | LegalHold
)

Standing = Role | Admitted | BreakGlass | PartnerAdmitted
"""Who was let in by people, and for what; `ports.Cases.standing` reads all of it at once."""
ADMITTING = (Role, Admitted, BreakGlass, PartnerAdmitted, Guest)
"""The kinds on which it depends who may be in a room."""
