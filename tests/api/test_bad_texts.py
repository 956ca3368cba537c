"""Ids and other texts that are none, at every door of the edge: refused, and never a fault of ours.

The doors are those of the OpenAPI document: every text in a path, a query, a header or a body. A
door that is added is tested without a change here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import quote

import httpx
import pytest

from durable_orders.api.app import create_app
from durable_orders.api.dependencies import Dependencies
from tests.api.api_clients import is_problem
from tests.api.real import RealShop, real
from tests.fakes.keys import InMemoryKeys

__all__ = ["real"]

_NOBODY: Final = cast("Any", None)
DOCUMENT: Final = create_app(
    Dependencies(
        orders=_NOBODY,
        operations=_NOBODY,
        refunds=_NOBODY,
        disputes=_NOBODY,
        payment_risks=_NOBODY,
        keys=InMemoryKeys(),
    )
).openapi()

#: What no id may be, at any door ...
NEVER: Final = {
    "empty": "",
    "blank": " ",
    "NUL": "a\x00b",
    "newline": "a\nb",
    "newline at its end": "a\n",
    "escape": "\x1b[31m",
    "half a character": "a\ud800",
    "10 KB": "x" * 10_000,  # more than that is refused before anything is read
}
#: ... and what some may be: a customer's, or a SKU.
SELDOM: Final = {
    "slash": "a/b",
    "dots": "..",
    "up": "../../orders",
    "space": "a b",
    "umlaut": "Müller",
    "emoji": "\N{ROSE}",
    "SQL": "1' OR '1'='1",
    "markup": "<b>1</b>",
    "percent": "%2e%2e%2f",
}
BAD: Final = NEVER | SELDOM
#: Texts that name something, each of which must have a pattern that refuses all of ``NEVER``.
IDS: Final = re.compile(r"(^|_)id$|^by$|sku|customer|payment_method|Idempotency-Key")


@dataclass(frozen=True)
class Door:
    """A text of an operation: where it is, and its schema. ``at`` leads to it in the body."""

    method: str
    path: str
    where: str
    name: str
    schema: dict[str, Any]
    at: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        inside = ".".join(map(str, self.at)) or self.name
        return f"{self.method} {self.path} {self.where} {inside}"

    def takes(self, text: str) -> bool:
        """Whether the document says that this text is one."""
        schema = self.schema
        # Without its anchors: to Python, an end is also before a newline at the end.
        pattern = schema.get("pattern", "^(?s:.*)$")[1:-1]
        return (
            schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", len(text))
            and re.fullmatch(pattern, text) is not None
            and "\ud800" not in text
        )


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference or an optional one stands for."""
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for other in schema.get("anyOf", ()):
        if other.get("type") != "null":
            return resolved({**{k: v for k, v in schema.items() if k != "anyOf"}, **other})
    return schema


def is_text(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "string" and "enum" not in schema


def sample(schema: dict[str, Any]) -> Any:
    """A good value, of the document's examples."""
    schema = resolved(schema)
    if "examples" in schema:
        return schema["examples"][0]
    match schema.get("type"):
        case "object":
            members = schema["properties"].items()
            return {name: value for name, one in members if (value := sample(one)) is not None}
        case "array":
            return [sample(schema["items"])]
    return schema.get("default")


def texts_in(schema: dict[str, Any], at: tuple[str | int, ...] = ()) -> Iterator[Any]:
    """Where there are texts in a body of this schema, and their schemas."""
    schema = resolved(schema)
    if is_text(schema):
        yield at, schema
    for name, one in schema.get("properties", {}).items():
        yield from texts_in(one, (*at, name))
    if "items" in schema:
        yield from texts_in(schema["items"], (*at, 0))


def body_schema(operation: dict[str, Any]) -> dict[str, Any] | None:
    content = operation.get("requestBody", {}).get("content", {})
    return cast("dict[str, Any] | None", content.get("application/json", {}).get("schema"))


def doors() -> Iterator[Door]:
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                schema = resolved(parameter["schema"])
                if is_text(schema):
                    yield Door(method, path, parameter["in"], parameter["name"], schema)
            for at, schema in texts_in(body_schema(operation) or {}):
                yield Door(method, path, "body", str(at[-1]), schema, at)


DOORS: Final = list(doors())


def request_with(door: Door, text: str) -> httpx.Request:
    """A good request, but for this text."""
    operation = DOCUMENT["paths"][door.path][door.method]
    values: dict[str, dict[str, str]] = {"path": {}, "query": {}, "header": {}}
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            values["path"][parameter["name"]] = sample(parameter["schema"]) or "r1"
    schema = body_schema(operation)
    body: Any = None if schema is None else sample(schema)
    if door.where == "body":
        holder = body
        for step in door.at[:-1]:
            holder = holder[step]
        holder[door.at[-1]] = text
    else:
        values[door.where][door.name] = text
    # Dots too, or httpx would send the request to the path above.
    escaped = {k: quote(v, safe="").replace(".", "%2E") for k, v in values["path"].items()}
    return httpx.Request(
        door.method,
        f"http://shop.example{door.path.format(**escaped)}",
        params=values["query"],
        headers={"Content-Type": "application/json", **values["header"]},
        # Escaped: half a character is none in UTF-8, but in JSON.
        content=None if body is None else json.dumps(body).encode(),
    )


def can_be_sent(door: Door, text: str) -> bool:
    """Whether a client can put the text there at all."""
    match door.where:
        case "header":
            return text.isascii() and text.isprintable()
        case "path":  # an empty one, or one that ends a path, is another address
            return bool(text) and "\ud800" not in text
        case "query":
            return "\ud800" not in text
    return True


@pytest.mark.parametrize("door", DOORS, ids=str)
async def test_a_text_that_is_none_is_refused_and_is_no_fault_of_ours(
    real: RealShop, door: Door
) -> None:
    for kind, text in BAD.items():
        if not can_be_sent(door, text):
            continue
        if door.where in {"path", "query"}:
            text = text[:60_000]  # noqa: PLW2901 - httpx makes no longer addresses
        request = request_with(door, text)
        request.headers["Authorization"] = real.http.headers["Authorization"]
        answer = await real.http.send(request)
        assert answer.status_code < 500, (kind, answer.text)
        if door.takes(text):
            continue
        assert 400 <= answer.status_code < 500, (kind, answer.status_code)
        if "/" not in text:  # in a path it is another address
            assert answer.status_code == 422, (kind, answer.text)
        if door.where == "body":
            is_problem(answer, 422, f"body/{'/'.join(map(str, door.at))}: ")


def test_every_kind_of_id_is_among_the_doors() -> None:
    found = {(door.where, door.name) for door in DOORS}
    assert found >= {
        *(("path", name) for name in ("order_id", "refund_id", "name")),
        *(("query", name) for name in ("customer", "cursor")),
        *(("header", name) for name in ("Idempotency-Key", "last-event-id")),
        *(("body", name) for name in ("order_id", "customer_id", "sku", "refund_id", "by")),
        *(("body", name) for name in ("name", "email", "address", "payment_method", "note")),
    }


@pytest.mark.parametrize("door", [door for door in DOORS if IDS.search(door.name)], ids=str)
def test_every_id_has_a_format_in_the_document(door: Door) -> None:
    assert {"pattern", "maxLength"} <= door.schema.keys()
    assert not [kind for kind, text in NEVER.items() if door.takes(text)]


async def test_checking_out_what_cannot_be_an_order_is_told_as_everywhere(real: RealShop) -> None:
    for order_id in ("", "a/b", "..", "a\x00b", "ä", "x" * 100_000):
        for body in ({"order_id": order_id}, {"order_id": order_id, "wait_seconds": 1}):
            answer = await real.http.post("/checkout", json=body)
            is_problem(answer, 422, "is not an order id: 1 to 64 letters, digits, dots")
            told = answer.json()
            assert told["type"] == "/problems/invalid-order-id"
            assert [error["where"] for error in told["errors"]] == ["body/order_id"]
            assert len(answer.text) < 2_000  # a long text is not repeated


async def test_of_several_mistakes_each_is_told(real: RealShop) -> None:
    answer = await real.http.post("/checkout", json={"order_id": "a/b", "wait_seconds": 99})
    is_problem(answer, 422, "is not an order id")
    assert answer.json()["type"] == "/problems/malformed-request"
    where = [error["where"] for error in answer.json()["errors"]]
    assert where == ["body/order_id", "body/wait_seconds"]


@pytest.mark.parametrize(
    ("body", "kind", "detail"),
    [
        (b'{"order_id": ', "application/json", "body/13: is not JSON from this character on"),
        (b"[]", "application/json", "body: must be a JSON object, sent as application/json"),
        (
            b'{"order_id": "1"}',
            "application/x-www-form-urlencoded",
            "body: must be a JSON object, sent as application/json",
        ),
    ],
    ids=["cut off", "a list", "a form"],
)
async def test_a_body_that_is_no_json_object_is_told_in_plain_words(
    real: RealShop, body: bytes, kind: str, detail: str
) -> None:
    answer = await real.http.post("/checkout", content=body, headers={"Content-Type": kind})
    is_problem(answer, 422, detail)


async def test_a_refund_id_and_an_order_id_keep_their_own_problems(real: RealShop) -> None:
    for path, name in (
        ("/orders/a%20b", "invalid-order-id"),
        ("/orders/a%20b/refunds/r1", "invalid-order-id"),
        ("/orders/1001/refunds/a-b", "invalid-refund-id"),
        ("/orders/a%20b/refunds/a-b", "malformed-request"),
    ):
        answer = await real.http.get(path)
        assert (answer.status_code, answer.json()["type"]) == (422, f"/problems/{name}")
