"""Rules, with a box that tries them on a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stacksona_adapters.server.inbox import editing
from stacksona_adapters.server.inbox.admin import administers, oversees
from stacksona_adapters.server.inbox.web import Site, Visit, action, page, redirect
from stacksona_adapters.server.service import grants, rules
from stacksona_adapters.server.service.errors import Invalid, Refusal
from stacksona_adapters.server.service.rules import RuleOutcome

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.routing import BaseRoute

_NUMBERS = ("upper_limit", "lower_limit", "between")
_FIELDS = ("agent", "tool", "parameter", "type", "value", "value2", "outcome")
_SAMPLE = {"agent": "", "tool": "", "arguments": '{"amount": 120}'}


def routes(site: Site) -> list[BaseRoute]:
    """The pages of this module."""
    return [
        page(site, "/inbox/rules", _rules, role=oversees),
        action(site, "/inbox/rules/add", _add, role=administers),
        action(site, "/inbox/rules/remove", _remove, role=administers),
        action(site, "/inbox/rules/try", _try, role=oversees),
    ]


async def _rules(visit: Visit) -> Response:
    return await _page(visit)


async def _page(visit: Visit, status: int = 200, **said: Any) -> Response:
    listed, standing = await visit.read(lambda read: (rules.list_rules(read), grants.standing(read)))
    entered = dict.fromkeys(_FIELDS, "")
    values = {"entered": entered, "wrong": "", "sample": _SAMPLE, "tried": None, "wrong_sample": "", **said}
    return visit.render("rules.html", status, section="rules", rules=listed, standing=standing, **values)


def _value(kind: str, text: str) -> Any:
    """Numbers as numbers, where the rule compares them; everything else as it was entered."""
    if kind not in _NUMBERS:
        return text
    try:
        value = editing.parse(text)
    except ValueError:
        return text
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else text


async def _add(visit: Visit) -> Response:
    entered = {name: visit.field(name).strip() if name != "value" else visit.field(name) for name in _FIELDS}
    fields: dict[str, Any] = {**entered, "agent": entered["agent"] or "*", "tool": entered["tool"] or "*"}
    fields["value"] = _value(entered["type"], entered["value"])
    fields["value2"] = _value(entered["type"], entered["value2"]) if entered["value2"] else None
    try:
        await visit.write(lambda write: rules.add(write, fields, by=visit.reviewer))
    except Refusal as error:
        return await _page(visit, 422, wrong=error.detail, entered=entered)
    return redirect("/inbox/rules")


async def _remove(visit: Visit) -> Response:
    which = visit.field("which")
    await visit.write(lambda write: rules.remove(write, which, by=visit.reviewer))
    return redirect("/inbox/rules")


async def _try(visit: Visit) -> Response:
    """What the rules say of a sample; nothing is asked for."""
    sample = {name: visit.field(name) for name in _SAMPLE}
    try:
        arguments = editing.read_json(sample["arguments"] or "{}")
    except Invalid as error:
        return await _page(visit, 422, sample=sample, wrong_sample=error.detail)
    call = rules.Call((sample["agent"].strip(),), sample["tool"].strip(), arguments)
    listed = await visit.read(rules.list_rules)
    outcome, decisive = rules.judge(listed, call)
    matched = {rule.id: verdict for rule in listed if (verdict := rules.verdict(rule, call)) is not None}
    grant = await visit.read(lambda read: grants.trial(read, call)) if outcome is RuleOutcome.REVIEW else None
    tried = {"outcome": outcome, "decisive": decisive, "matched": matched, "grant": grant}
    return await _page(visit, sample=sample, tried=tried)
