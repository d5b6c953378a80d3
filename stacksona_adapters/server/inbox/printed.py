"""An exported request as one HTML file that needs nothing else: to read, to keep and to print."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from starlette.responses import Response

from stacksona_adapters.server.inbox import diffs, display, text
from stacksona_adapters.server.inbox.templating import environment
from stacksona_adapters.server.service.records import canonical

if TYPE_CHECKING:
    from stacksona_adapters.protocol.reviews import ReviewDetail
    from stacksona_adapters.server.service.exports import Exported

_SAID = ("event_summary", "summary", "message", "text")


def as_file(exported: Exported) -> Response:
    """The file as a download; should a browser show it in its place, it can do nothing there."""
    content, style = page(exported)
    policy = f"{_policy(style)}; frame-ancestors 'none'; sandbox"
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="stacksona-{_named(exported.review.thread_id)}.html"',
    }
    return Response(content.encode(), 200, headers, "text/html")


def page(exported: Exported) -> tuple[str, str]:
    """The file, and the hash of its style as a policy names it.

    The file carries the policy itself too: opened from a disk it runs nothing and asks for nothing either.
    """
    templates = environment()
    # On paper nothing can be unfolded.
    templates.filters["long"] = lambda whole: (text.visible(whole), None)
    review = exported.review
    style = templates.get_template("printed.css").render(
        thread=_named(review.thread_id), decision=_named(review.decision_id)
    )
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    content = templates.get_template("printed.html").render(
        exported=exported,
        review=review,
        style=Markup(style),  # noqa: S704 - the template's own text and two ids of letters and digits
        policy=_policy(hashed),
        timeline=[_entry(record) for record in exported.records],
        **_arguments(review),
    )
    return content, hashed


def _policy(style: str) -> str:
    return f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"


def _named(made: str) -> str:
    """An id that the gate made, for where there is no escaping: a style and a header."""
    return re.sub(r"[^\w-]", "", made, flags=re.ASCII)[:80]


def _arguments(review: ReviewDetail) -> dict[str, Any]:
    ran = review.arguments if review.edited_arguments is None else review.edited_arguments
    edits = [] if review.edited_arguments is None else diffs.changes(review.arguments, review.edited_arguments)
    context = display.arguments(review.context) if review.context else None
    return {"shown": display.arguments(ran), "exact": ran, "edits": edits, "context": context}


def _entry(record: dict[str, Any]) -> dict[str, Any]:
    """A record with what a reader looks for in it."""
    payload = record["payload"]
    said = next((payload[name] for name in _SAID if isinstance(payload.get(name), str)), "")
    by = payload.get("by") if isinstance(payload.get("by"), str) else ""
    at = datetime.fromisoformat(record["at"].replace("Z", "+00:00"))
    # The payload as it was hashed, to the letter.
    hashed = {"payload": canonical(payload), "prev": record["prev"] or "none", "stamp": record["at"]}
    return {**record, **hashed, "at": at, "said": said, "by": by}
