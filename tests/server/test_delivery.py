"""Webhooks: signed, retried over days, never to where the operator did not allow, never inside of a request."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from standardwebhooks import Webhook

from stacksona_adapters.errors import ConfigurationError, GateProtocolError
from stacksona_adapters.protocol.decisions import Status
from stacksona_adapters.server.delivery.addresses import AddressRefused, parse_networks, permitted, resolve
from stacksona_adapters.server.service import deliveries
from stacksona_adapters.server.service.errors import Conflict, NotFound
from stacksona_adapters.webhooks import WebhookReceiver
from tests.server.conftest import World, ask, decide
from tests.server.webhook_receiver import Receiver, webhook_receiver

if TYPE_CHECKING:
    import httpx

LOOPBACK = ("127.0.0.0/8",)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks."""
    with webhook_receiver() as running:
        yield running


@pytest.fixture
def world(start: Callable[..., World]) -> World:
    """A gate whose operator allows webhooks to this machine, and that looks often."""
    return start(delivery_networks=LOOPBACK, sweep_interval=0.05, delivery_timeout=1.0)


class Hooked:
    """An agent with a webhook, and a reviewer."""

    def __init__(self, world: World, url: str) -> None:
        self.world = world
        self.new = world.service.add_agent("refund-bot", webhook=url)
        self.agent: httpx.Client = world.client(self.new.key)
        self.reviewer = world.reviewer()

    def decided(self, outcome: str = "approve", **fields: Any) -> dict[str, Any]:
        """A decision that a reviewer made."""
        decision = ask(self.agent)
        decide(self.reviewer, decision, outcome, **fields)
        return decision

    def only(self) -> deliveries.DeliveryInfo:
        """The one delivery of this gate."""
        [delivery] = self.world.service.read(deliveries.listed)
        return delivery

    def until(self, state: str, attempts: int) -> deliveries.DeliveryInfo:
        """The delivery, once it has a state and so many attempts."""
        for _ in range(400):
            delivery = self.only()
            if (delivery.state, delivery.attempts) == (state, attempts):
                return delivery
            asyncio.run(asyncio.sleep(0.02))
        raise AssertionError(f"the delivery is {self.only()}")


def test_a_decision_is_delivered_signed(world: World, receiver: Receiver) -> None:
    """The contract's body, signed so that the specification's own library and our receiver accept it."""
    hooked = Hooked(world, receiver.url)
    decision = hooked.decided("reject", message="known fraud")
    receiver.wait()
    [(headers, body)] = receiver.got
    secret = hooked.new.webhook_secret or ""
    sent = float(headers["webhook-timestamp"])

    assert (
        json.loads(body).items()
        >= {
            "thread_id": decision["thread_id"],
            "task_id": decision["task_id"],
            "decision": "rejected",
            "message": "known fraud",
            "tenant_id": "default",
        }.items()
    )
    assert Webhook(secret).verify(body, headers)["decision"] == "rejected"
    read = WebhookReceiver(secret, clock=lambda: sent).read(body, headers)
    assert (read.thread_id, read.decision) == (decision["thread_id"], Status.REJECTED)
    assert hooked.until("delivered", 1).last_error is None


def test_a_failing_receiver_is_tried_again(world: World, receiver: Receiver) -> None:
    """A 503 is tried again after the first pause, under the same id, and every attempt is on record."""
    hooked = Hooked(world, receiver.url)
    receiver.statuses = [503, 200]
    hooked.decided()
    receiver.wait()
    failed = hooked.until("pending", 1)
    assert failed.last_error == "the receiver answered 503"
    world.advance(seconds=6)
    receiver.wait()
    delivered = hooked.until("delivered", 2)

    assert {headers["webhook-id"] for headers, _ in receiver.got} == {delivered.delivery_id}
    (tried,) = world.service.read(lambda read: deliveries.attempts(read, [delivered.delivery_id])).values()
    assert [attempt.status for attempt in tried] == [503, 200]


def test_days_of_failure_end_in_a_dead_letter_that_can_be_sent_again(world: World, receiver: Receiver) -> None:
    """Growing pauses over about three days, then dead and visible; a person sends it again."""
    hooked = Hooked(world, receiver.url)
    receiver.statuses = [500]
    hooked.decided()
    for number in range(len(deliveries.PAUSES) + 1):
        receiver.wait()
        hooked.until("pending" if number < len(deliveries.PAUSES) else "dead", number + 1)
        world.advance(hours=25)
    dead = hooked.only()
    receiver.statuses = [204]

    world.service.write(lambda write: deliveries.resend(write, dead.delivery_id, by="ann"))
    receiver.wait()

    assert hooked.until("delivered", 1).last_error is None
    assert sum(deliveries.PAUSES, start=deliveries.PAUSES[0] * 0).days >= 2


def test_gone_is_final(world: World, receiver: Receiver) -> None:
    """410 Gone: the receiver wants no more of it."""
    hooked = Hooked(world, receiver.url)
    receiver.statuses = [410]
    hooked.decided()
    hooked.until("dead", 1)


def test_a_redirect_is_not_followed(world: World, receiver: Receiver) -> None:
    """A redirect could lead where the operator allows nothing: it is a failure."""
    with webhook_receiver() as elsewhere:
        hooked = Hooked(world, receiver.url)
        receiver.statuses, receiver.location = [307], elsewhere.url
        hooked.decided()
        assert hooked.until("pending", 1).last_error == "the receiver answered 307"
        assert elsewhere.got == []


def test_a_hanging_receiver_holds_up_nobody(world: World, receiver: Receiver) -> None:
    """Deciding answers at once, others are delivered, and the hanging one runs into its time-out."""
    with webhook_receiver() as hanging:
        hanging.hang = True
        slow, quick = Hooked(world, hanging.url), world.service.add_agent("quick", webhook=receiver.url)
        slow.decided()
        hanging.wait()
        decision = ask(world.client(quick.key))
        decide(slow.reviewer, decision)
        receiver.wait()

        waiting = [info for info in world.service.read(deliveries.listed) if info.agent == "refund-bot"]
        assert [info.state for info in waiting] == ["pending"]
        for _ in range(200):
            [info] = [info for info in world.service.read(deliveries.listed) if info.agent == "refund-bot"]
            if info.attempts:
                break
            asyncio.run(asyncio.sleep(0.02))
        assert info.last_error == "no answer within 1 s"


def test_a_private_address_is_refused_unless_allowed(start: Callable[..., World], receiver: Receiver) -> None:
    """Without the operator's word nothing on this machine is called, and the log says why."""
    world = start(sweep_interval=0.05)
    hooked = Hooked(world, receiver.url)
    hooked.decided()
    assert (hooked.until("pending", 1).last_error or "").startswith("refused: 127.0.0.1 is at 127.0.0.1")
    assert receiver.got == []


def test_resending_what_is_under_way_or_unknown(world: World, receiver: Receiver) -> None:
    """Only a finished delivery is sent again."""
    hooked = Hooked(world, receiver.url)
    receiver.statuses = [500]
    hooked.decided()
    pending = hooked.until("pending", 1)
    with pytest.raises(Conflict):
        world.service.write(lambda write: deliveries.resend(write, pending.delivery_id, by="ann"))
    with pytest.raises(NotFound):
        world.service.write(lambda write: deliveries.resend(write, "msg_none", by="ann"))


REFUSED = """127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 198.18.0.1 0.0.0.0 0.1.2.3 224.0.0.1
224.0.1.1 240.0.0.1 255.255.255.255 192.0.0.8 ::1 :: fc00::1 fd12::1 fe80::1 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1
64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 2002:7f00:1:: 2001::1 ::127.0.0.1"""


@pytest.mark.parametrize("address", REFUSED.split())
def test_refused_addresses(address: str) -> None:
    """Private, loopback, link-local, metadata, shared, multicast, reserved, and their disguises."""
    assert not permitted(ipaddress.ip_address(address), ())


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"])
def test_public_addresses(address: str) -> None:
    """What is public is permitted."""
    assert permitted(ipaddress.ip_address(address), ())


def test_the_operators_networks() -> None:
    """A network that the operator allows, also in disguise, and no other."""
    allowed = parse_networks(["10.0.0.0/8"])
    assert permitted(ipaddress.ip_address("10.1.2.3"), allowed)
    assert permitted(ipaddress.ip_address("::ffff:10.1.2.3"), allowed)
    assert not permitted(ipaddress.ip_address("192.168.0.1"), allowed)
    with pytest.raises(ConfigurationError, match="allowed networks"):
        parse_networks(["10.0.0.1/8"])


@pytest.mark.parametrize(
    "url",
    ["ftp://example.com/", "http:///x", "http://ann:secret@127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f.1/",
     "http://localhost/", "http://[::1]:80/", "http://127.0.0.1:99999/"],
)  # fmt: skip
def test_urls_that_lead_inside_are_refused(url: str) -> None:
    """Odd spellings of loopback, users in URLs, other schemes."""
    with pytest.raises((AddressRefused, OSError)):
        asyncio.run(resolve(url, ()))


def test_a_name_is_looked_up_once() -> None:
    """The address that was checked is the one that is used, so a name cannot change in between (DNS rebinding)."""
    target = asyncio.run(resolve("http://localhost:8080/hook?a=1#x", parse_networks(["127.0.0.0/8", "::1/128"])))

    assert target.url in ("http://127.0.0.1:8080/hook?a=1", "http://[::1]:8080/hook?a=1")
    assert (target.host, target.name) == ("localhost:8080", "localhost")


SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"thread_id":"THR-00000001","task_id":"t","decision":"approved","tenant_id":"d"}'


def signed(body: bytes = BODY, secret: str = SECRET, at: float = 1_700_000_000) -> dict[str, str]:
    """The headers of a webhook, by the specification's own library."""
    moment = datetime.fromtimestamp(at, timezone.utc)
    signature = Webhook(secret).sign("msg_1", moment, body.decode())
    return {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(int(at)), "Webhook-Signature": f"v1a,xyz {signature}"}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (BODY + b" ", signed()),
        (BODY, signed(secret="whsec_" + "A" * 32)),
        (BODY, {**signed(), "Webhook-Id": "msg_2"}),
        (BODY, {**signed(), "Webhook-Timestamp": "1700000001"}),
        (BODY, {**signed(), "Webhook-Timestamp": "soon"}),
        (BODY, {**signed(), "Webhook-Signature": ""}),
        (BODY, {**signed(), "Webhook-Signature": "v1,"}),
        (BODY, {}),
        (BODY, signed(at=1_700_000_000 - 301)),
        (BODY, signed(at=1_700_000_000 + 301)),
        (b"{}", signed(b"{}")),
        (b"[", signed(b"[")),
    ],
)
def test_a_webhook_that_is_not_the_gates(body: bytes, headers: dict[str, str]) -> None:
    """Another body, key, id, time or signature; too old or too new; signed nonsense."""
    with pytest.raises(GateProtocolError):
        WebhookReceiver(SECRET, clock=lambda: 1_700_000_000).read(body, headers)


def test_a_secret_can_be_replaced() -> None:
    """While a secret is replaced, both are accepted."""
    receiver = WebhookReceiver(f"whsec_{'A' * 32} {SECRET}", clock=lambda: 1_700_000_000)

    assert receiver.read(BODY, signed()).thread_id == "THR-00000001"
    for wrong in ("", "whsec_", "whsec_***"):
        with pytest.raises(ConfigurationError):
            WebhookReceiver(wrong)
