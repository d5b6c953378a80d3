"""One request: read at a glance, decided, noted, claimed, settled."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from starlette.responses import Response

from stacksona_adapters.protocol.decisions import Outcome, Status
from stacksona_adapters.protocol.reviews import DecideRequest, NoteRequest, ReviewDetail, SettleRequest
from stacksona_adapters.server.api.http import text_of
from stacksona_adapters.server.inbox import approving, diffs, display, editing, granting, words
from stacksona_adapters.server.inbox.web import HEADERS, Site, Visit, action, page, redirect
from stacksona_adapters.server.service import grants, permissions, reviews, search
from stacksona_adapters.server.service.errors import Conflict, Gone, Invalid, NotPermitted, Refusal, invalid

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from stacksona_adapters.protocol.grants import GrantRequest
    from stacksona_adapters.server.inbox.diffs import Changed
    from stacksona_adapters.server.service.context import Read, Write

_MOST_ENTRIES = 200
_ONE = "/inbox/requests/{decision_id}"


def routes(site: Site) -> list[BaseRoute]:
    """The pages of this module."""
    return [
        page(site, _ONE, _show),
        page(site, f"{_ONE}/state", _state),
        page(site, f"{_ONE}/arguments.json", _arguments),
        action(site, f"{_ONE}/decide", _decide),
        action(site, f"{_ONE}/edit", _edit),
        action(site, f"{_ONE}/grant", _grant),
        action(site, f"{_ONE}/claim", _claim),
        action(site, f"{_ONE}/release", _release),
        action(site, f"{_ONE}/note", _note),
        action(site, f"{_ONE}/settle", _settle),
    ]


@dataclass(frozen=True)
class Earlier:
    """An earlier proposal that a request answers, and what is different now."""

    review: ReviewDetail
    changed: list[Changed]


@dataclass(frozen=True)
class Panel:
    """What the reviewer was about to do when the page was made.

    Attributes:
        opened: Which part is open: `edit`, `grant`, `revise`, `reject`, `note`, or none.
        wrong: What was wrong with it.
        message: The text that was entered.
        fields: The fields of the edit.
        json: The text of the JSON editor.
        errors: What is wrong with the edit and belongs to no field.
        edited: The edit, which waits to be confirmed.
        changed: What it changes.
        form: The form of a grant.
        grant: The grant, which waits to be confirmed.
    """

    opened: str = ""
    wrong: str = ""
    message: str = ""
    fields: list[editing.Field] = field(default_factory=list)
    json: str = ""
    errors: list[str] = field(default_factory=list)
    edited: dict[str, Any] | None = None
    changed: list[Changed] = field(default_factory=list)
    form: granting.GrantForm | None = None
    grant: GrantRequest | None = None


def _id(visit: Visit) -> str:
    return text_of(str(visit.request.path_params["decision_id"]), "decision_id")


async def _show(visit: Visit) -> Response:
    return await _page(visit, Panel())


async def _page(visit: Visit, panel: Panel, status: int = 200) -> Response:
    decision_id = _id(visit)

    def look(read: Read) -> dict[str, Any]:
        review = reviews.detail(read, decision_id, visit.reviewer)
        made = grants.made_with(read, review.decision_id)
        return {
            "review": review,
            "earlier": _earlier(read, review),
            "counts": search.counts(read),
            "made_with_it": made,
        }

    values = await visit.read(look)
    review: ReviewDetail = values["review"]
    standing = approving.standing(review, visit.reviewer)
    pending = review.status is Status.PENDING_REVIEW
    ran = standing.arguments if pending else review.edited_arguments
    filled = panel if panel.json else _filled(review, panel, standing.arguments)
    return await visit.render_apart(
        "request.html",
        status,
        **values,
        panel=filled,
        standing=standing,
        shown=display.arguments(review.arguments if ran is None else ran),
        edits=[] if ran is None else diffs.changes(review.arguments, ran),
        context=display.arguments(review.context),
        timeline=review.timeline[-_MOST_ENTRIES:],
        left_out=max(0, len(review.timeline) - _MOST_ENTRIES),
        folder=words.folder_of(review),
        pending=pending,
        unknown=review.outcome is Outcome.UNKNOWN,
        editable=editing.editable(review),
        by_grant=words.by_grant(review),
        grant_form=panel.form or (granting.form(review) if _grantable(visit, review) else None),
    )


def _grantable(visit: Visit, review: ReviewDetail) -> bool:
    few = len(review.arguments) <= editing.MOST_FIELDS
    alone = review.approvals_needed == 1 and not review.approvals
    return visit.served.gate.settings.grants and alone and few and editing.editable(review)


def _filled(review: ReviewDetail, panel: Panel, changed: dict[str, Any] | None) -> Panel:
    """The form of the edit, with the arguments as somebody has approved them already."""
    if not editing.editable(review):
        return panel
    fields = panel.fields or editing.fields(review, changed)
    text = display.as_json(review.arguments if changed is None else changed)
    return replace(panel, fields=fields, json=text)


def _earlier(read: Read, review: ReviewDetail) -> list[Earlier]:
    found, after = [], review.arguments
    for decision_id in search.earlier(read, review.decision_id):
        before = reviews.detail(read, decision_id)
        found.append(Earlier(before, diffs.changes(before.arguments, after)))
        after = before.arguments
    return found


async def _state(visit: Visit) -> Response:
    """Whether the request is still what the page shows."""
    review = await visit.read(lambda read: reviews.detail(read, _id(visit)))
    return visit.render("_state.html", review=review, seen=visit.request.query_params.get("seen", ""))


async def _arguments(visit: Visit) -> Response:
    """The exact arguments, as a file."""
    review = await visit.read(lambda read: reviews.detail(read, _id(visit)))
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{review.decision_id}.json"'}
    return Response(display.as_json(review.arguments), 200, headers, media_type="application/json")


def _why(error: Refusal) -> str:
    facts = error.facts
    by = facts.get("decided_by")
    said = f"{error.detail} Nothing that you entered was applied."
    return said if by is None or str(by) in said else f"{said} It was decided by {by}."


async def _decide(visit: Visit) -> Response:
    outcome, message = visit.field("outcome"), visit.field("message").strip()
    opened = {"revise": "revise", "reject": "reject"}.get(outcome, "")
    if opened and not message:
        need = "Say what should change." if opened == "revise" else "Say why."
        return await _page(visit, Panel(opened=opened, wrong=need), 422)
    decision_id = _id(visit)
    try:
        asked = _asked(visit, outcome, message)
        seen = await visit.read(lambda read: reviews.check(read, decision_id, asked))
        await visit.write(lambda write: reviews.decide(write, visit.reviewer, decision_id, asked, seen))
    except (Conflict, Gone) as error:
        return await _page(visit, Panel(wrong=_why(error), message=message), 409)
    except NotPermitted as error:
        return await _page(visit, Panel(wrong=error.detail), 403)
    except Invalid as error:
        return await _page(visit, Panel(opened=opened, wrong=error.detail, message=message), 422)
    return redirect(f"/inbox?done={decision_id}")


def _asked(visit: Visit, outcome: str, message: str) -> DecideRequest:
    fields: dict[str, Any] = {"outcome": outcome, "message": message or None, "action_digest": visit.field("seen")}
    edited, grant = visit.field("arguments"), visit.field("grant")
    if edited:
        fields["arguments"] = editing.read_json(edited)
    if grant:
        fields["grant"] = editing.read_json(grant)
    try:
        return DecideRequest.model_validate(fields)
    except ValidationError as error:
        raise invalid("/message", "; ".join(each["msg"] for each in error.errors())) from error


async def _edit(visit: Visit) -> Response:
    """Check an edit and show what it changes; nothing is decided yet."""
    decision_id, as_json = _id(visit), visit.field("json")
    review = await visit.read(lambda read: reviews.detail(read, decision_id))
    if review.action_digest != visit.field("seen"):
        return await _page(visit, Panel(wrong="The agent changed the request meanwhile; look at it again."), 409)
    entered = _entered(review, visit)
    try:
        edited = editing.read_json(as_json) if as_json else editing.read_fields(review, visit.field)
        asked = DecideRequest(outcome="approve", arguments=edited)
        await visit.read(lambda read: reviews.check(read, decision_id, asked))
    except Invalid as error:
        fields, rest = editing.placed(entered, error.errors or [("", error.detail)])
        text = as_json or display.as_json(review.arguments)
        return await _page(visit, Panel(opened="edit", fields=fields, errors=rest, json=text), 422)
    changed = diffs.changes(review.arguments, edited)
    if not changed:
        nothing = "Nothing is changed. To approve it as it is, press Approve."
        if approving.standing(review, visit.reviewer).arguments is not None:
            nothing = "This is what the agent asked for. To approve that, press “Approve without the changes”."
        return await _page(visit, Panel(opened="edit", errors=[nothing], fields=entered), 422)
    fields = editing.fields(review, edited)
    text = display.as_json(edited)
    return await _page(visit, Panel(opened="edit", fields=fields, json=text, edited=edited, changed=changed))


async def _grant(visit: Visit) -> Response:
    """Check a grant and say in one sentence what it means; nothing is decided yet."""
    review = await visit.read(lambda read: reviews.detail(read, _id(visit)))
    if review.action_digest != visit.field("seen"):
        return await _page(visit, Panel(wrong="The agent changed the request meanwhile; look at it again."), 409)
    form = granting.entered(review, visit.field)
    try:
        wanted = granting.wanted(review, form, visit.served.gate.settings.clock.now())
        await visit.read(lambda read: grants.check(read, wanted, review.arguments))
    except Invalid as error:
        return await _page(visit, Panel(opened="grant", form=granting.placed(form, error)), 422)
    return await _page(visit, Panel(form=form, grant=wanted))


def _entered(review: ReviewDetail, visit: Visit) -> list[editing.Field]:
    """The fields as they were entered, right or wrong."""
    listed = editing.fields(review)
    if visit.field("json"):
        return listed
    return [replace(each, value=visit.field(f"arg.{each.number}")) for each in listed]


async def _claim(visit: Visit) -> Response:
    return await _held(visit, release=False)


async def _release(visit: Visit) -> Response:
    return await _held(visit, release=True)


async def _held(visit: Visit, *, release: bool) -> Response:
    decision_id = _id(visit)
    try:
        await visit.write(lambda write: reviews.claim(write, visit.reviewer, decision_id, release=release))
    except Conflict as error:
        return await _page(visit, Panel(wrong=error.detail), 409)
    return redirect(f"/inbox/requests/{decision_id}")


async def _note(visit: Visit) -> Response:
    text, decision_id = visit.field("text").strip(), _id(visit)
    try:
        note = NoteRequest(text=text)
    except ValidationError:
        return await _page(visit, Panel(opened="note", wrong="A note has 1 to 10,000 characters.", message=text), 422)
    await visit.write(lambda write: reviews.add_note(write, visit.reviewer, decision_id, note.text))
    return redirect(f"/inbox/requests/{decision_id}#notes")


async def _settle(visit: Visit) -> Response:
    outcome, decision_id = visit.field("outcome"), _id(visit)
    try:
        asked = SettleRequest.model_validate({"outcome": outcome, "message": visit.field("message").strip() or None})
    except ValidationError as error:
        raise invalid("/outcome", "must be ran or did_not_run") from error

    def act(write: Write) -> None:
        permissions.settle(write, visit.reviewer, decision_id, asked)

    try:
        await visit.write(act)
    except Conflict as error:
        return await _page(visit, Panel(wrong=error.detail), 409)
    except NotPermitted as error:
        return await _page(visit, Panel(wrong=error.detail), 403)
    return redirect(f"/inbox?folder=unknown&done={decision_id}")
