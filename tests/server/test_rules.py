"""Tool rules: five types, three outcomes, reject over review over allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from stacksona_adapters.server.service.errors import Invalid, NotFound
from stacksona_adapters.server.service.rules import Call, Rule, RuleOutcome, judge, number, verdict
from stacksona_adapters.server.service.rules_file import read
from tests.server.conftest import World, ask

if TYPE_CHECKING:
    from pathlib import Path


def rule(kind: str, value: Any, outcome: str = "allow", parameter: str = "amount", **fields: Any) -> Rule:
    """A rule for `refund`."""
    known = {"id": "r", "agent": "*", "tool": "refund", "value2": None, **fields}
    return Rule(type=kind, value=value, outcome=RuleOutcome(outcome), parameter=parameter, **known)


def call(**arguments: Any) -> Call:
    """A call of `refund` by the agent `bot`, which calls itself `Bot crew`."""
    return Call(("bot", "Bot crew"), "refund", arguments)


MATCHES = [
    (rule("upper_limit", 100), 100.01, True),
    (rule("upper_limit", 100), 100, False),
    (rule("lower_limit", 100), 99.99, True),
    (rule("lower_limit", 100), 100, False),
    (rule("lower_limit", 100), -(10**9), True),
    (rule("between", 10, value2=20), 10, True),
    (rule("between", 10, value2=20), 20, True),
    (rule("between", 10, value2=20), 20.000001, False),
    (rule("lower_limit", "100"), "99.5", True),
    (rule("lower_limit", 100), " 99 ", True),
    (rule("lower_limit", 0.3), 0.1 + 0.2, False),
    (rule("contains", "urgent"), "very urgent!", True),
    (rule("contains", "urgent"), "calm", False),
    (rule("contains", "a"), ["a", "b"], True),
    (rule("contains", "a"), ["ab"], False),
    (rule("contains", 1), [True], False),
    (rule("regex", "^[A-Z]{2}[0-9]+$"), "DE12", True),
    (rule("regex", "^[A-Z]{2}[0-9]+$"), "de12", False),
    (rule("regex", "^(a+)+$"), "a" * 30_000 + "!", False),
]


@pytest.mark.parametrize(("known", "value", "matched"), MATCHES)
def test_match(known: Rule, value: Any, matched: bool) -> None:
    """Each type matches what the contract says."""
    assert verdict(known, call(amount=value)) == (RuleOutcome.ALLOW if matched else None)


INCOMPARABLE = [
    True,
    None,
    {},
    [],
    "12 EUR",
    "1_000",
    "NaN",
    "inf",
    "0x10",
    "\u0661\u0662",
    "1" * 500,
    "",
    "[redacted]",
]


@pytest.mark.parametrize("value", INCOMPARABLE)
@pytest.mark.parametrize("kind", ["upper_limit", "lower_limit"])
def test_not_comparable(kind: str, value: Any) -> None:
    """What cannot be compared is never allowed by a limit, and a person looks where one would reject."""
    assert verdict(rule(kind, 100, "allow"), call(amount=value)) is None
    assert verdict(rule(kind, 100, "reject"), call(amount=value)) is RuleOutcome.REVIEW
    assert verdict(rule(kind, 100, "review"), call(amount=value)) is RuleOutcome.REVIEW


@pytest.mark.parametrize("kind", ["contains", "regex"])
def test_hidden_text(kind: str) -> None:
    """A hidden value satisfies no rule that allows."""
    assert verdict(rule(kind, "redacted", "allow"), call(amount="[redacted]")) is None


@pytest.mark.parametrize(
    ("known", "arguments"),
    [
        (rule("contains", "evil", "reject", "to"), {"to": ["a", "[redacted]"]}),
        (rule("contains", "evil", "reject", "card.owner"), {"card": "[redacted]"}),
        (rule("upper_limit", 5, "reject", "a.b.c"), {"a": {"b": "[redacted]"}}),
    ],
)
def test_hidden_part(known: Rule, arguments: dict[str, Any]) -> None:
    """Where the value may be in what is hidden, a person looks."""
    assert verdict(known, call(**arguments)) is RuleOutcome.REVIEW


def test_another_agents_name(world: World) -> None:
    """A request that says another known agent's name does not get what that one is allowed."""
    fields = {"tool": "issue_refund", "parameter": "amount", "type": "lower_limit", "value": 50}
    for name in ("refund-bot", "Refund crew"):
        world.service.add_rule(agent=name, outcome="allow", **fields)
    world.service.add_rule(agent="strict-bot", outcome="reject", **fields)
    bot, other = world.agent("refund-bot"), world.agent("other")
    world.agent("strict-bot")

    assert ask(bot, 20)["status"] == "allow"
    assert ask(other, 20, agent="Refund crew")["status"] == "allow"
    assert ask(other, 20, agent="refund-bot")["status"] == "pending_review"
    assert ask(bot, 20, agent="strict-bot")["status"] == "reject"


@pytest.mark.parametrize("outcome", ["allow", "review", "reject"])
def test_missing_parameter(outcome: str) -> None:
    """A parameter that is not there matches nothing."""
    assert verdict(rule("lower_limit", 100, outcome), call(other=1)) is None


@pytest.mark.parametrize(
    ("path", "matched"),
    [("a.b.0", True), ("a.b.1", False), ("a.b.-1", False), ("a.c", False), ("a.b.0.x", False), ("a.b.\u0660", False)],
)
def test_path(path: str, matched: bool) -> None:
    """A dotted path goes into objects and, by number, into lists."""
    found = verdict(rule("contains", "x", parameter=path), call(a={"b": ["x", "y"]}))

    assert (found is RuleOutcome.ALLOW) is matched


@pytest.mark.parametrize(
    ("agent", "tool", "matched"),
    [
        ("*", "refund", True),
        ("bot", "refund", True),
        ("Bot crew", "*", True),
        ("other", "refund", False),
        ("*", "pay", False),
        ("*", "Refund", False),
    ],
)
def test_scope(agent: str, tool: str, matched: bool) -> None:
    """A rule is for an agent, by its key's name or the request's, and a tool, or for all."""
    known = rule("lower_limit", 100, agent=agent, tool=tool)

    assert (verdict(known, call(amount=1)) is RuleOutcome.ALLOW) is matched


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([], "review"),
        (["allow"], "allow"),
        (["allow", "review"], "review"),
        (["reject", "allow"], "reject"),
        (["review", "reject", "allow"], "reject"),
    ],
)
def test_precedence(outcomes: list[str], expected: str) -> None:
    """Reject beats review beats allow; nothing means review."""
    known = [rule("lower_limit", 100, outcome) for outcome in outcomes]

    assert judge(known, call(amount=1))[0] == RuleOutcome(expected)


def test_arguments_cannot_pose_as_the_action() -> None:
    """An argument named like a part of the call is only an argument."""
    known = rule("lower_limit", 100, tool="read_file")

    assert (
        judge([known], Call(("bot",), "refund", {"amount": 1, "tool": "read_file", "action": "read_file"}))[1] is None
    )


def test_number_is_exact() -> None:
    """Numbers are compared as written, not as rounded."""
    assert number("0.1") == number(0.1)
    assert number("1e400") is None or number("1e400") > number(1e308)  # type: ignore[operator]


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "upper_limit", "value": "many"},
        {"type": "upper_limit", "value": True},
        {"type": "between", "value": 1},
        {"type": "between", "value": 2, "value2": 1},
        {"type": "regex", "value": "("},
        {"type": "regex", "value": "(?=a)"},
        {"type": "above", "value": 1},
        {"type": "contains", "value": "x", "value2": "y"},
        {"type": "contains", "value": "x", "outcome": "maybe"},
        {"type": "contains", "value": "x", "unknown": 1},
        {"type": "contains"},
    ],
)
def test_unusable_rule(world: World, fields: dict[str, Any]) -> None:
    """A rule that cannot be used is refused when it is added."""
    with pytest.raises(Invalid):
        world.service.add_rule(**{"tool": "t", "parameter": "p", "outcome": "allow", **fields})

    assert world.service.list_rules() == []


def test_rules_are_kept(world: World) -> None:
    """Rules are listed, take effect at once, and can be removed."""
    kept = world.service.add_rule(
        tool="issue_refund", parameter="amount", type="between", value=1, value2=50, outcome="allow"
    )
    agent = world.agent()

    assert world.service.list_rules() == [kept]
    assert ask(agent, 20)["status"] == "allow"
    assert world.reviewer().get(f"/v1/reviews/{ask(agent, 20)['id']}").json()["rule"]["id"] == kept.id
    world.service.remove_rule(kept.id)
    assert ask(agent, 20)["status"] == "pending_review"
    with pytest.raises(NotFound):
        world.service.remove_rule(kept.id)


RULES = """
[[rule]]
tool = "issue_refund"
parameter = "amount"
type = "lower_limit"
value = 50
outcome = "allow"

[[rule]]
agent = "refund-bot"
tool = "*"
parameter = "country"
type = "regex"
value = "^(KP|IR)$"
outcome = "reject"
"""


def test_file(world: World, tmp_path: Path) -> None:
    """Rules are loaded from TOML, all or none; `replace` drops the others."""
    file = tmp_path / "rules.toml"
    file.write_text(RULES)
    world.service.add_rule(tool="t", parameter="p", type="contains", value="x", outcome="review")

    world.service.load_rules(read(file))
    assert len(world.service.list_rules()) == 3
    assert len(world.service.load_rules(read(file), replace=True)) == 2
    assert [known.outcome.value for known in world.service.list_rules()] == ["allow", "reject"]
    file.write_text(RULES.replace('"regex"', '"regexp"'))
    with pytest.raises(Invalid, match="Rule 2"):
        world.service.load_rules(read(file), replace=True)
    assert len(world.service.list_rules()) == 2


@pytest.mark.parametrize("text", ["[rule", "rule = 1", "[[rules]]\nx = 1", "", "[[rule]]\n[other]\nx=1"])
def test_unreadable_file(tmp_path: Path, text: str) -> None:
    """A file that is no list of rules says so."""
    file = tmp_path / "rules.toml"
    file.write_text(text)

    with pytest.raises(Invalid, match=r"rules\.toml"):
        read(file)
