"""The reviewer's commands: they talk HTTP to a running gate, as the inbox does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from stacksona_adapters.cli.options import AsJson, DecisionId, Message, RequiredMessage, Token, Url
from stacksona_adapters.cli.output import Failed, clean, facts, moment, say, say_json, show_table, table
from stacksona_adapters.client.reviews import ReviewerClient
from stacksona_adapters.errors import GateRequestRefused, GateUnavailable
from stacksona_adapters.protocol.decisions import Decision, Status
from stacksona_adapters.protocol.reviews import Approval, Folder, Review, ReviewDetail

_DONE = {Status.APPROVED: "Approved", Status.REJECTED: "Rejected", Status.REVISE: "Sent back"}


@contextmanager
def connected(url: str | None, token: str | None) -> Iterator[ReviewerClient]:
    """A client of the gate that these options name.

    Raises:
        Failed: If one is missing, or the gate refuses.
    """
    if not url:
        raise Failed("No gate: pass --url or set STACKSONA_GATE_URL. `stacksona serve` runs one and says its URL.")
    if not token:
        raise Failed(
            "No reviewer's token: pass --token or set STACKSONA_REVIEWER_TOKEN. "
            "`stacksona reviewer add NAME` makes one."
        )
    with ReviewerClient(url, token) as client:
        try:
            yield client
        except GateRequestRefused as refusal:
            raise Failed(_refused(refusal)) from refusal
        except GateUnavailable as error:
            raise Failed(
                f"The gate at {url} did not answer ({error.__cause__ or error}). Is it running? "
                "If you were deciding, `stacksona show` says whether it arrived."
            ) from error


def _refused(refusal: GateRequestRefused) -> str:
    problem = refusal.problem
    detail = problem.get("detail") or problem.get("title") or str(refusal)
    errors = problem.get("errors")
    entries = [entry for entry in errors if isinstance(entry, dict)] if isinstance(errors, list) else []
    wrong = [f"{entry.get('pointer', '?')}: {entry.get('detail', '?')}" for entry in entries]
    told = [line for line in wrong if line not in str(detail)]
    return "\n  ".join([f"The gate refused ({refusal.status_code}): {detail}", *told])


FolderOption = Annotated[Folder, typer.Option("--folder", "-f", help="Which requests.")]


def inbox(url: Url = None, token: Token = None, folder: FolderOption = Folder.NEW, as_json: AsJson = False) -> None:
    """List the requests that wait for a reviewer, or those of another folder."""
    with connected(url, token) as client:
        reviews = list(client.reviews(folder))
    if as_json:
        say_json({"folder": folder, "reviews": reviews})
    elif not reviews:
        say(f"Nothing in the folder {folder}.")
    else:
        show_table(_listing(reviews))


def _listing(reviews: list[Review]) -> Any:
    columns = ("ID*", "Asked", "Risk*", "Agent", "Action", "Subject", "Arguments", "Status")
    rows = [
        (
            review.decision_id,
            review.created_at,
            review.risk,
            clean(review.agent, limit=30),
            clean(review.action, limit=40),
            clean(review.subject or "", limit=40),
            clean(json.dumps(review.arguments, ensure_ascii=False), limit=100),
            _status(review),
        )
        for review in reviews
    ]
    return table(columns, rows)


def _status(review: Review) -> str:
    outcome = f", outcome {review.outcome}" if review.outcome else ""
    several = review.status is Status.PENDING_REVIEW and review.approvals_needed > 1
    so_far = f", {review.approvals_given} of {review.approvals_needed} approvals" if several else ""
    return f"{review.status}{so_far}{outcome}"


def show(decision_id: DecisionId, url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """Show one request with everything that is known of it."""
    with connected(url, token) as client:
        review = client.review(decision_id)
    if as_json:
        say_json(review)
        return
    facts(_facts(review))
    _blocks(review)


def _facts(review: ReviewDetail) -> dict[str, object]:
    decided = f"{_status(review)} by {review.reviewer_id}" if review.reviewer_id else _status(review)
    return {
        "ID": review.decision_id,
        "Thread": review.thread_id,
        "Status": decided,
        "Approvals": "\n".join(_approval(one, review) for one in review.approvals),
        "Not you": review.why_not,
        "Stuck": review.stuck,
        "Agent": review.agent,
        "Action": review.action,
        "Subject": review.subject,
        "Risk": f"{review.risk} ({review.risk_reason})" if review.risk_reason else review.risk,
        "Asked": review.created_at,
        "Ends": review.expires_at,
        "Decided": review.decided_at,
        "Taken": review.consumed_at,
        "Message": review.message,
        "Rule": review.rule,
        "Revises": review.revises,
        "Task": review.task_id,
        "Summary": "\n".join(review.summary),
        "Arguments": review.arguments,
        "Hidden": ", ".join(review.redacted),
        "Edited": review.edited_arguments,
        "Context": review.context,
        "Preview": review.preview,
    }


def _approval(one: Approval, review: ReviewDetail) -> str:
    changed = f", with {json.dumps(one.arguments, ensure_ascii=False)}" if one.arguments is not None else ""
    lost = "" if one.counts else " (counts no more: may not decide now)"
    digest = f" ({one.action_digest})" if one.action_digest != review.action_digest else ""
    return f"{one.reviewer_id}, {moment(one.at)}{changed}{digest}{lost}"


def _blocks(review: ReviewDetail) -> None:
    if review.notes:
        say("", "Notes")
        say(*(f"  {moment(note.at)}  {note.reviewer_id}: {clean(note.text)}" for note in review.notes))
    if review.timeline:
        say("", "Timeline")
        say(
            *(f"  {moment(entry.at)}  {entry.kind}  {clean(entry.summary or '')}".rstrip() for entry in review.timeline)
        )


def _arguments(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"not JSON: {error}", param_hint="--arguments") from error
    if not isinstance(value, dict):
        raise typer.BadParameter("must be a JSON object with all arguments of the action", param_hint="--arguments")
    return value


def _told(decision: Decision, decision_id: str, *, as_json: bool, review: ReviewDetail | None = None) -> None:
    if as_json:
        several = {"approvals", "approvals_needed"}
        more = review.model_dump(mode="json", include=several, exclude_none=True) if review is not None else {}
        say_json({**decision.model_dump(mode="json", exclude_none=True), **more})
        return
    if review is not None:
        say(*_half(review))
        return
    done = _DONE.get(decision.status, str(decision.status))
    by = f" by {decision.reviewer_id}" if decision.reviewer_id else ""
    edited = " with other arguments" if decision.arguments is not None else ""
    say(f"{done}{by}{edited}: {decision.decision_id or decision_id}")


def _half(review: ReviewDetail) -> Iterator[str]:
    """What is said after an approval that is not the last one."""
    if review.status is not Status.PENDING_REVIEW:  # somebody else was as quick
        yield f"Your approval is recorded. The request is {review.status} now: {review.decision_id}"
        return
    left = review.approvals_needed - review.approvals_given
    more = "one more approval is" if left == 1 else f"{left} more approvals are"
    yield f"{review.approvals_given} of {review.approvals_needed} approvals: {more} needed: {review.decision_id}"
    if len({one.action_digest for one in review.approvals if one.counts}) > 1:
        yield "Different versions were approved; `stacksona show` has them. The same one is needed from all."


Digest = Annotated[
    str | None,
    typer.Option(
        "--digest",
        metavar="sha256:...",
        help="Approve this version and no other, such as one with changes that somebody approved (`stacksona show`).",
        show_default=False,
    ),
]
Arguments = Annotated[
    str | None,
    typer.Option(
        "--arguments", metavar="JSON", help="Run it with these arguments instead: all of them, as one object."
    ),
]


def approve(
    decision_id: DecisionId,
    arguments: Arguments = None,
    message: Message = None,
    digest: Digest = None,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Approve a request: the action may run, once. Where a policy asks for more approvals, it waits for them."""
    edited = _arguments(arguments)
    with connected(url, token) as client:
        decision = client.decide(decision_id, "approve", message=message, arguments=edited, action_digest=digest)
        half = client.review(decision_id) if decision.status is Status.PENDING_REVIEW else None
    _told(decision, decision_id, as_json=as_json, review=half)


def reject(
    decision_id: DecisionId, message: RequiredMessage, url: Url = None, token: Token = None, as_json: AsJson = False
) -> None:
    """Reject a request: the action does not run, and the agent is told why."""
    with connected(url, token) as client:
        decision = client.decide(decision_id, "reject", message=message)
    _told(decision, decision_id, as_json=as_json)


def revise(
    decision_id: DecisionId, message: RequiredMessage, url: Url = None, token: Token = None, as_json: AsJson = False
) -> None:
    """Send a request back to the agent for changes."""
    with connected(url, token) as client:
        decision = client.decide(decision_id, "revise", message=message)
    _told(decision, decision_id, as_json=as_json)


Ran = Annotated[str, typer.Argument(metavar="ran|did-not-run", help="What you found out.")]


def settle(
    decision_id: DecisionId, outcome: Ran, message: Message = None, url: Url = None, token: Token = None
) -> None:
    """Close an unknown outcome: the action was started and nobody reported how it ended.

    `ran` closes it for good. `did-not-run` gives the permission back, so that the action may run once more.
    `stacksona inbox --folder unknown` lists the open ones.
    """
    if outcome not in ("ran", "did-not-run"):
        raise typer.BadParameter(f"{outcome!r} is neither ran nor did-not-run", param_hint="OUTCOME")
    ran = outcome == "ran"
    with connected(url, token) as client:
        client.settle(decision_id, ran=ran, message=message)
    say(f"Settled: {decision_id} {'ran' if ran else 'did not run and may run once more'}.")


def register(app: typer.Typer) -> None:
    """Add these commands to an application."""
    for command in (inbox, show, approve, reject, revise, settle):
        app.command()(command)
