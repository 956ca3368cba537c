"""Lean stand-ins for Stripe, Resend and the warehouse: `python -m bench.stand_ins`.

The sandbox's stand-ins behave like the real services, at 15 ms of CPU per order: they would be what
is measured. These speak only what an ordinary order, its cancellation and the yardsticks use, at a
fraction of that. They keep books of every call, for ``bench/checks.py``:

- ``GET /books``, per order: as ``sandbox.books_client`` reads them.
- ``GET /calls``, per order: endpoint and idempotency key of each request, in order.
- ``GET /held``, per order: the endpoints whose answers are still on their way.
- ``GET /webhooks``: how many webhooks were accepted, and how many were not.
- ``POST /control``: ``answer_after`` in seconds, and ``webhooks``, the URL that gets Stripe's.

What a request does is done when it arrives; its answer leaves after ``answer_after``.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import signal
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import stripe

from sandbox.ports import HOST
from sandbox.webhook_endpoints import STRIPE_SECRET

ACCOUNT_ID: Final = "acct_1BenchStandIn"
SUCCEEDED: Final = "payment_intent.succeeded"
#: Requests of one order for one of these effects, in ``/calls``.
CREATE: Final = "create payment"
CONFIRM: Final = "confirm payment"
READ: Final = "read payment"
CANCEL: Final = "cancel payment"
LIST_REFUNDS: Final = "list refunds"
REFUND: Final = "refund payment"
FULFIL: Final = "fulfil"
RECALL: Final = "recall"
MAIL: Final = "mail"

#: Before the order's id in the warehouse's reference, the name of the shop.
_SHOP: Final = re.compile(r"^[a-z][a-z0-9]{3,23}-(?=bench)")
_PHRASES: Final = {200: "OK", 201: "Created", 400: "Bad Request", 404: "Not Found"}
_MOST_WEBHOOKS: Final = 16

Json = dict[str, Any]


@dataclass
class Answer:
    """Status and body of an answer, and what is done once it has left."""

    body: Any
    status: int = 200
    replayed: bool = False
    then: Callable[[], None] | None = None


@dataclass
class OrderBooks:
    """What was done for one order."""

    payments: list[Json] = field(default_factory=list)
    refunds: list[Json] = field(default_factory=list)
    fulfillments: list[Json] = field(default_factory=list)
    mails: list[Json] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    held: Counter[str] = field(default_factory=Counter)

    def as_json(self, order_id: str) -> Json:
        """The shape of the sandbox's books."""
        payments = [self._payment(intent) for intent in self.payments]
        return {
            "order_id": order_id,
            "captured": sum(payment["captured"] for payment in payments),
            "refunded": sum(payment["refunded"] for payment in payments),
            "payments": payments,
            "refunds": [_refund_in_books(refund) for refund in self.refunds],
            "disputes": [],
            "fulfillments": [each for each in self.fulfillments if each["id"] is not None],
            "mails": self.mails,
        }

    def _payment(self, intent: Json) -> Json:
        amount, captured = intent["amount"], intent["amount_received"]
        charge = {
            "id": intent["latest_charge"],
            "status": "succeeded",
            "amount": amount,
            "captured": captured,
            "failure": None,
        }
        return {
            "id": intent["id"],
            "status": intent["status"],
            "amount": amount,
            "currency": intent["currency"],
            "customer": intent["customer"],
            "capturable": 0,
            "captured": captured,
            "refunded": sum(
                each["amount"] for each in self.refunds if each["payment_intent"] == intent["id"]
            ),
            "charges": [charge] if captured else [],
        }


class StandIns:
    """The state of the three services, and their answers."""

    def __init__(self, webhooks: Webhooks) -> None:
        self.answer_after = 0.0
        self.webhooks = webhooks
        self.orders: defaultdict[str, OrderBooks] = defaultdict(OrderBooks)
        self._intents: dict[str, Json] = {}
        self._order_of: dict[str, str] = {}
        self._by_key: dict[tuple[str, str], Answer] = {}
        self._ids = itertools.count(1)

    def answer(  # noqa: PLR0911  a row for each request
        self, method: str, target: str, key: str, body: bytes
    ) -> tuple[str, str, Answer]:
        """Carry a request out: order, endpoint and answer. The order is empty for our own."""
        path, _, query = target.partition("?")
        match method, path.strip("/").split("/"):
            case "POST", ["v1", "payment_intents"]:
                form = dict(parse_qsl(body.decode()))
                order_id = form.get("metadata[order_id]", "")
                return order_id, CREATE, self._once(CREATE, key, lambda: self._create(form))
            case "POST", ["v1", "payment_intents", id_, "confirm"] if id_ in self._intents:
                form = dict(parse_qsl(body.decode()))
                return (
                    self._order_of[id_],
                    CONFIRM,
                    self._once(CONFIRM, key, lambda: self._pay(id_, form)),
                )
            case "POST", ["v1", "payment_intents", id_, "cancel"] if id_ in self._intents:
                return self._order_of[id_], CANCEL, self._cancel(id_)
            case "GET", ["v1", "payment_intents", id_] if id_ in self._intents:
                return self._order_of[id_], READ, Answer(self._expanded(id_, query))
            case "GET", ["v1", "refunds"]:
                id_ = dict(parse_qsl(query)).get("payment_intent", "")
                return self._order_of.get(id_, ""), LIST_REFUNDS, self._list_refunds(id_)
            case "POST", ["v1", "refunds"]:
                form = dict(parse_qsl(body.decode()))
                order_id = self._order_of.get(form.get("payment_intent", ""), "")
                return (
                    order_id,
                    REFUND,
                    self._once(REFUND, key, lambda: self._refund(order_id, form)),
                )
            case "GET", ["v1", "account"]:
                return "", "", Answer({"id": ACCOUNT_ID, "object": "account"})
            case "POST", ["warehouse", "fulfillments"]:
                order = json.loads(body)
                order_id = _order_of_reference(order["order_id"])
                return (
                    order_id,
                    FULFIL,
                    self._once(FULFIL, key, lambda: self._fulfill(order_id, order)),
                )
            case "POST", ["warehouse", "fulfillments", reference, "cancel"]:
                order_id = _order_of_reference(unquote(reference))
                return order_id, RECALL, self._recall(order_id, unquote(reference))
            case "POST", ["emails"]:
                mail = json.loads(body)
                tags = {tag["name"]: tag["value"] for tag in mail.get("tags", [])}
                order_id = tags.get("order", "")
                return (
                    order_id,
                    MAIL,
                    self._once(MAIL, key, lambda: self._mail(order_id, mail, key)),
                )
        return "", "", self._own(method, path, body)

    def _own(self, method: str, path: str, body: bytes) -> Answer:
        match method, path:
            case "GET", "/books":
                books = {order_id: each.as_json(order_id) for order_id, each in self.orders.items()}
                return Answer({"orders": books})
            case "GET", "/calls":
                return Answer({order_id: each.calls for order_id, each in self.orders.items()})
            case "GET", "/held":
                held = {order_id: [*+each.held] for order_id, each in self.orders.items()}
                return Answer(
                    {order_id: endpoints for order_id, endpoints in held.items() if endpoints}
                )
            case "GET", "/webhooks":
                sent = self.webhooks
                return Answer({"accepted": sent.accepted, "refused": sent.refused})
            case "POST", "/control":
                wanted = json.loads(body)
                self.answer_after = float(wanted.get("answer_after", self.answer_after))
                self.webhooks.aim(wanted.get("webhooks", self.webhooks.url))
                return Answer({})
        message = f"The bench's stand-ins do not know {method} {path}."
        return Answer({"error": {"type": "invalid_request_error", "message": message}}, 404)

    def _once(self, endpoint: str, key: str, effect: Callable[[], Answer]) -> Answer:
        """Have the effect once for each key, as all three services do."""
        if key and (known := self._by_key.get((endpoint, key))):
            return Answer(known.body, known.status, replayed=True)
        answer = effect()
        if key and answer.status < 400:
            self._by_key[endpoint, key] = answer
        return answer

    def _id(self, prefix: str) -> str:
        return f"{prefix}_bench{next(self._ids):010}"

    # -- Stripe --------------------------------------------------------------------------------

    def _create(self, form: dict[str, str]) -> Answer:
        metadata = _metadata(form)
        order_id = metadata.get("order_id", "")
        intent = _new_intent(self._id("pi"), form, metadata)
        self._intents[intent["id"]], self._order_of[intent["id"]] = intent, order_id
        self.orders[order_id].payments.append(intent)
        if form.get("confirm") == "true":
            return self._pay(intent["id"], form)
        return Answer(dict(intent))

    def _pay(self, id_: str, form: dict[str, str]) -> Answer:
        intent = self._intents[id_]
        if intent["status"] != "requires_payment_method":
            return _unexpected_state(intent)
        intent |= {
            "status": "succeeded",
            "amount_received": intent["amount"],
            "latest_charge": self._id("ch"),
            "payment_method": form.get("payment_method"),
        }
        paid = dict(intent)
        return Answer(paid, then=partial(self.webhooks.send, self._id("evt"), SUCCEEDED, paid))

    def _cancel(self, id_: str) -> Answer:
        intent = self._intents[id_]
        if intent["status"] != "requires_payment_method":
            return _unexpected_state(intent)
        intent["status"] = "canceled"
        return Answer(dict(intent))

    def _expanded(self, id_: str, query: str) -> Json:
        intent = self._intents[id_]
        charge = intent["latest_charge"]
        if charge is None or "latest_charge" not in query:
            return intent
        expanded = {"id": charge, "object": "charge", "review": None, "payment_intent": id_}
        return {**intent, "latest_charge": expanded}

    def _list_refunds(self, id_: str) -> Answer:
        order_id = self._order_of.get(id_)
        refunds = [] if order_id is None else self.orders[order_id].refunds
        return Answer({"object": "list", "url": "/v1/refunds", "has_more": False, "data": refunds})

    def _refund(self, order_id: str, form: dict[str, str]) -> Answer:
        intent = self._intents[form["payment_intent"]]
        refund = {
            "id": self._id("re"),
            "object": "refund",
            "amount": int(form.get("amount") or intent["amount"]),
            "currency": intent["currency"],
            "payment_intent": intent["id"],
            "charge": intent["latest_charge"],
            "status": "succeeded",
            "metadata": _metadata(form),
        }
        self.orders[order_id].refunds.append(refund)
        return Answer(refund)

    # -- the warehouse and Resend --------------------------------------------------------------

    def _fulfill(self, order_id: str, order: Json) -> Answer:
        fulfillments = self.orders[order_id].fulfillments
        if fulfillments and fulfillments[0]["status"] == "recalled":
            problem = {"code": "fulfillment_cancelled", "message": "It was cancelled before."}
            return Answer({"error": problem}, 409)
        parcel = {"id": self._id("par"), "status": "accepted", "lines": order["lines"]}
        accepted = {
            "id": self._id("ful"),
            "order_id": order["order_id"],
            "status": "accepted",
            "parcels": [parcel],
        }
        fulfillments.append(accepted)
        return Answer(accepted, 201)

    def _recall(self, order_id: str, reference: str) -> Answer:
        fulfillments = self.orders[order_id].fulfillments
        outcome = "recalled" if fulfillments else "never_accepted"
        if not fulfillments:
            # Recalled before it came: it is refused when it comes.
            never: Json = {"id": None, "order_id": reference, "status": "recalled", "parcels": []}
            fulfillments.append(never)
        for each in fulfillments:
            each["status"] = "recalled"
            for parcel in each["parcels"]:
                parcel["status"] = "recalled"
        return Answer({"id": fulfillments[0]["id"], "order_id": reference, "outcome": outcome})

    def _mail(self, order_id: str, mail: Json, key: str) -> Answer:
        mail_id = self._id("mail")
        kinds = [tag["value"] for tag in mail.get("tags", []) if tag["name"] == "kind"]
        self.orders[order_id].mails.append(
            {
                "id": mail_id,
                "key": key,
                "kind": kinds[0] if kinds else None,
                "to": mail["to"],
                "subject": mail["subject"],
                "at": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
            }
        )
        return Answer({"id": mail_id})


def _new_intent(id_: str, form: dict[str, str], metadata: dict[str, str]) -> Json:
    """As Stripe's: with its members, for the SDK to read."""
    return {
        "id": id_,
        "object": "payment_intent",
        "amount": int(form["amount"]),
        "amount_capturable": 0,
        "amount_received": 0,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": form.get("capture_method", "automatic"),
        "client_secret": f"{id_}_secret_bench",
        "confirmation_method": "automatic",
        "created": int(time.time()),
        "currency": form["currency"],
        "customer": form.get("customer"),
        "description": form.get("description"),
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": metadata,
        "next_action": None,
        "payment_method": None,
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": form.get("receipt_email"),
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "statement_descriptor": None,
        "status": "requires_payment_method",
    }


def _metadata(form: dict[str, str]) -> dict[str, str]:
    prefix = "metadata["
    return {name[len(prefix) : -1]: form[name] for name in form if name.startswith(prefix)}


def _refund_in_books(refund: Json) -> Json:
    kept = {name: refund[name] for name in ("id", "charge", "amount", "currency", "status")}
    return {**kept, "payment": refund["payment_intent"]}


def _unexpected_state(intent: Json) -> Answer:
    error = {
        "type": "invalid_request_error",
        "code": "payment_intent_unexpected_state",
        "message": f"This PaymentIntent has a status of {intent['status']}.",
        "payment_intent": dict(intent),
    }
    return Answer({"error": error}, 400)


def _order_of_reference(reference: str) -> str:
    return _SHOP.sub("", reference)


class Webhooks:
    """Sends Stripe's webhooks to an API, signed, over connections that are kept; none without a
    ``url``. Each is sent once.
    """

    def __init__(self) -> None:
        self.url = ""
        self.accepted = 0
        self.refused = 0
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._limit = asyncio.Semaphore(_MOST_WEBHOOKS)
        self._under_way: set[asyncio.Task[None]] = set()

    def aim(self, url: str) -> None:
        """Send to this URL from now on; to none if it is empty."""
        if url != self.url:
            self.url = url
            while self._idle:
                self._idle.pop()[1].close()

    def send(self, event_id: str, type_: str, about: Json) -> None:
        """Send one in the background."""
        if self.url:
            event = {"id": event_id, "object": "event", "type": type_, "data": {"object": about}}
            task = asyncio.get_running_loop().create_task(self._send(json.dumps(event)))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _send(self, payload: str) -> None:
        status = 0
        async with self._limit:
            # A connection that was kept may have been closed meanwhile: then another one is tried.
            while self._idle and not status:
                status = await self._post(payload, *self._idle.pop())
            if not status:
                status = await self._post_anew(payload)
        if 200 <= status < 300:
            self.accepted += 1
        else:
            self.refused += 1

    async def _post_anew(self, payload: str) -> int:
        url = urlsplit(self.url)
        try:
            ends = await asyncio.open_connection(url.hostname, url.port)
        except OSError:
            return 0
        return await self._post(payload, *ends)

    async def _post(
        self, payload: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> int:
        """Send it over this connection; the status, 0 without an answer."""
        url = urlsplit(self.url)
        signature = stripe.WebhookSignature.generate_signature_header(payload, STRIPE_SECRET)
        request = (
            f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
            f"Stripe-Signature: {signature}\r\nContent-Length: {len(payload)}\r\n\r\n{payload}"
        )
        try:
            writer.write(request.encode())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(_content_length(head))
        except (OSError, EOFError):
            writer.close()
            return 0
        self._idle.append((reader, writer))
        return int(head.split(b" ", 2)[1])


class _Connection(asyncio.Protocol):
    """One connection with a client that sends a request after the answer to the one before."""

    def __init__(self, stand_ins: StandIns) -> None:
        self._stand_ins = stand_ins
        self._received = bytearray()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  it is a socket's
        self._transport = transport  # asyncio sets TCP_NODELAY

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end])
            length = _content_length(head.lower())
            if len(self._received) < end + 4 + length:
                return
            body = bytes(self._received[end + 4 : end + 4 + length])
            del self._received[: end + 4 + length]
            self._serve(head, body)

    def _serve(self, head: bytes, body: bytes) -> None:
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        key = _header(head, b"idempotency-key")
        stand_ins = self._stand_ins
        try:
            order_id, endpoint, answer = stand_ins.answer(method, target, key, body)
        except (LookupError, ValueError) as error:
            message = f"The bench's stand-ins cannot read {method} {target}: {error!r}"
            order_id, endpoint = "", ""
            answer = Answer({"error": {"type": "invalid_request_error", "message": message}}, 400)
        if not order_id:
            self._reply(answer)
            return
        books = stand_ins.orders[order_id]
        books.calls.append((endpoint, key))
        if stand_ins.answer_after:
            books.held[endpoint] += 1
            loop = asyncio.get_running_loop()
            loop.call_later(stand_ins.answer_after, self._reply_late, books, endpoint, answer)
        else:
            self._reply(answer)

    def _reply_late(self, books: OrderBooks, endpoint: str, answer: Answer) -> None:
        books.held[endpoint] -= 1
        self._reply(answer)

    def _reply(self, answer: Answer) -> None:
        body = json.dumps(answer.body).encode()
        replayed = "Idempotent-Replayed: true\r\n" if answer.replayed else ""
        head = (
            f"HTTP/1.1 {answer.status} {_PHRASES.get(answer.status, 'Refused')}\r\n"
            f"Content-Type: application/json\r\n{replayed}Content-Length: {len(body)}\r\n\r\n"
        )
        self._transport.write(head.encode() + body)
        if answer.then is not None:
            answer.then()


def _header(head: bytes, name: bytes) -> str:
    for line in head.split(b"\r\n")[1:]:
        key, _, text = line.partition(b":")
        if key.lower() == name:
            return text.strip().decode()
    return ""


def _content_length(head: bytes) -> int:
    """From a head in lower case."""
    _, _, rest = head.partition(b"\r\ncontent-length:")
    return int(rest.split(b"\r\n", 1)[0] or 0)


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """Serve at a free port, which is the result."""
    stand_ins = StandIns(Webhooks())
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(stand_ins), HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def main() -> None:
    """Serve until SIGTERM, at a free port that is printed."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    async with serving() as port:
        print(f"ready at {port}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
