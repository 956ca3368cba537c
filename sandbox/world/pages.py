"""HTML pages: front page, inbox, mail, the bank's 3-D Secure page, active faults."""

from html import escape
from string import Template
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from sandbox.world.faults import MODES, FaultRegistry
from sandbox.world.state_store import JsonObject, StateStore

_PAGE: Final = Template("""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>$title</title><style>
:root{color-scheme:light dark;--line:#8883;--soft:#8889;--accent:#5b6cff}
body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:0 auto;padding:2rem 1rem}
a{color:inherit;text-decoration:none}nav{display:flex;gap:1.2rem;color:var(--soft)}
nav a:hover,h1 a:hover{color:var(--accent)}h1{margin:.6rem 0 1.2rem;font-size:1.6rem}
.mail{display:grid;grid-template-columns:1fr auto;gap:.1rem 1rem;padding:.8rem .4rem;
border-top:1px solid var(--line)}.mail:hover{background:#5b6cff12}
.mail b{font-weight:600}.mail small,dt{color:var(--soft)}
.tag{font-size:.75rem;border:1px solid var(--line);border-radius:1rem;padding:.05rem .6rem}
iframe{width:100%;height:34rem;border:1px solid var(--line);border-radius:.6rem;background:#fff}
pre{white-space:pre-wrap;border:1px solid var(--line);border-radius:.6rem;padding:1rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dd{margin:0}
button{font:inherit;padding:.6rem 1.4rem;border-radius:.6rem;border:1px solid var(--line);
cursor:pointer}button.yes{background:var(--accent);color:#fff;border-color:transparent}
</style></head><body><nav><a href="/">The sandbox</a><a href="/inbox">Inbox</a>
<a href="/books">Books</a><a href="/dials">Dials</a></nav>$body</body></html>""")

_CARDS: Final = (
    "pm_card_mastercard",
    "pm_card_visa",
    "pm_card_chargeDeclined",
    "pm_card_authenticationRequired",
)

_NO_FAULTS: Final = (
    "<p>All dials are off. Turn one with <code>POST /sandbox/dials</code> and "
    '<code>{"endpoint": "stripe.*", "mode": "rate_limit", "times": 3}</code>.</p>'
)


def page_routes(store: StateStore, fault_registry: FaultRegistry) -> list[Route]:
    async def front(_: Request) -> Response:
        counts = {
            kind: len(store.objects((kind,)))
            for kind in ("payment_intent", "refund", "fulfillment", "mail")
        }
        rows = "".join(
            f"<dt>{name}</dt><dd>{counts[kind]}</dd>"
            for name, kind in (
                ("Payments", "payment_intent"),
                ("Refunds", "refund"),
                ("Fulfilments", "fulfillment"),
                ("Mails", "mail"),
            )
        )
        return _page(
            "The sandbox",
            "<h1>The outside world, on one machine</h1><p>Stripe at <code>/v1</code>, Resend at "
            "<code>/emails</code>, the warehouse at <code>/warehouse</code>. No money moves, no "
            f"mail leaves.</p><dl>{rows}<dt>Dials turned</dt>"
            f"<dd>{len(fault_registry.all())}</dd></dl>",
        )

    async def inbox(_: Request) -> Response:
        mails = [stored.body for stored in reversed(store.objects(("mail",)))][:200]
        rows = "".join(_row(mail) for mail in mails)
        return _page("Inbox", f"<h1>Inbox</h1>{rows or '<p>No mail yet.</p>'}")

    async def mail(request: Request) -> Response:
        found = store.find("mail", request.path_params["id"])
        if found is None:
            return _page("No such mail", "<h1>There is no such mail.</h1>", 404)
        return _page(found["subject"], _mail(found))

    async def authenticate(request: Request) -> Response:
        intent = store.find("payment_intent", request.path_params["id"])
        if intent is None:
            return _page("No such payment", "<h1>There is no such payment.</h1>", 404)
        return _page("3-D Secure", _bank(intent))

    async def pay(request: Request) -> Response:
        """The shop's own page (`PAYMENT_URL`): the order's newest payment."""
        order_id = request.path_params["order_id"]
        intents = store.objects(("payment_intent",), order_id=order_id)
        if not intents:
            return _page("No such order", "<h1>This order has no payment.</h1>", 404)
        newest = intents[-1].body["id"]
        return RedirectResponse(f"/sandbox/payment_intents/{newest}/authenticate", 303)

    async def faults(_: Request) -> Response:
        rows = "".join(_fault_row(fault.to_json()) for fault in fault_registry.all())
        return _page("Dials", f"<h1>Dials</h1>{rows or _NO_FAULTS}<h2>Modes</h2>{_modes()}")

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return [
        Route("/", front),
        Route("/inbox", inbox),
        Route("/inbox/{id}", mail),
        Route("/sandbox/payment_intents/{id}/authenticate", authenticate),
        Route("/sandbox/orders/{order_id}/pay", pay),
        Route("/dials", faults),
        Route("/healthz", healthz),
    ]


def _page(title: str, body: str, status: int = 200) -> Response:
    return HTMLResponse(_PAGE.substitute(title=escape(title), body=body), status)


def _row(mail: JsonObject) -> str:
    return (
        f'<a class="mail" href="/inbox/{mail["id"]}"><b>{escape(mail["subject"])}</b>'
        f"<small>{escape(mail['created_at'][:19])}</small>"
        f"<small>to {escape(', '.join(mail['to']))}</small>{_tag(mail)}</a>"
    )


def _tag(mail: JsonObject) -> str:
    return f'<span class="tag">{escape(mail["_kind"])}</span>' if mail["_kind"] else "<span></span>"


def _mail(mail: JsonObject) -> str:
    facts = (
        ("From", mail["from"]),
        ("To", ", ".join(mail["to"])),
        ("Sent", mail["created_at"][:19]),
        ("Key", mail["_key"] or "none"),
    )
    listed = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    body = f"<h1>{escape(mail['subject'])}</h1><dl>{listed}</dl>"
    if mail["html"]:
        # sandbox="" lets nothing in the mail run or reach this page.
        body += f'<h2>As HTML</h2><iframe sandbox="" srcdoc="{escape(mail["html"])}"></iframe>'
    if mail["text"]:
        body += f"<h2>As text</h2><pre>{escape(mail['text'])}</pre>"
    return body


def _fault_row(fault: JsonObject) -> str:
    whom = f"order {fault['order_id']}" if fault["order_id"] else "every order"
    until = f"{fault['times']} times" if fault["times"] is not None else "until turned off"
    return (
        f'<div class="mail"><b>{escape(fault["endpoint"])}</b>'
        f'<span class="tag">{escape(fault["mode"])}</span>'
        f"<small>{escape(whom)}, {until}</small><small>hit {fault['hits']} times</small></div>"
    )


def _modes() -> str:
    rows = (f"<dt>{name}</dt><dd>{escape(what)}</dd>" for name, what in MODES.items())
    return f"<dl>{''.join(rows)}</dl>"


def _bank(intent: JsonObject) -> str:
    """The page at `next_action.redirect_to_url`, like Stripe's own test page.

    As on a checkout page with the Payment Element, another card can pay the same intent.
    """
    if intent["status"] == "requires_action":
        return (
            f"<h1>Your bank asks</h1><p>Pay {_amount(intent)}?</p>"
            '<form method="post"><button class="yes" name="outcome" value="succeed">Yes, it is me'
            '</button> <button name="outcome" value="fail">No</button></form>' + _other_card(intent)
        )
    if intent["status"] == "requires_payment_method":
        error = intent["last_payment_error"] or {"message": "No card was given yet."}
        return (
            f"<h1>Not paid yet</h1><p>{_amount(intent)}: {escape(error['message'])}</p>"
            + _other_card(intent)
        )
    return f"<h1>Nothing to authenticate</h1><p>This payment is {escape(intent['status'])}.</p>"


def _amount(intent: JsonObject) -> str:
    return f"{intent['amount']} {escape(intent['currency'].upper())} (minor units)"


def _other_card(intent: JsonObject) -> str:
    failed = (intent["last_payment_error"] or {}).get("payment_method") or {}
    saved = [failed["id"]] if failed.get("customer") else []
    options = "".join(f"<option>{escape(name)}</option>" for name in (*saved, *_CARDS))
    return (
        f'<form method="post" action="/sandbox/payment_intents/{escape(intent["id"])}/confirm">'
        f'<p>Another card: <select name="payment_method">{options}</select> '
        "<button>Pay</button></p></form>"
    )
