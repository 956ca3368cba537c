"""The command line on the real database and Temporal: one sentence and an exit code."""

import ctypes
import json
import signal
import sys

import psutil  # type: ignore[import-untyped]
import pytest

from durable_orders.cli import terminal
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.process import PROGRAM
from durable_orders.store.database import Database
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.seed import Product, add_products
from tests.cli.shell import Aside, Begin, Begun, Run, read, refused
from tests.fakes.cards import InMemoryCards
from tests.fakes.warehouse import InMemoryWarehouse
from tests.support.eventually import eventually
from tests.support.servers import Temporal


@pytest.mark.usefixtures("working")
async def test_an_order_is_placed_and_followed_to_its_end(run: Run) -> None:
    placed = await run("place", "--line", "MUG=2", "--line", "TEE=1", "--order-id", "cli-1")
    watched = await run("watch", "cli-1")
    ended = read(await run("result", "cli-1", "--json"))

    assert "58.00 EUR" in placed.stdout
    assert f"Watch it: {PROGRAM} watch cli-1\n" in placed.stdout
    assert "order paid" in watched.stdout
    assert watched.stdout.endswith("Order cli-1 is completed, 58.00 EUR\n")
    assert ended["taken"] == {"amount": 5800, "currency": "EUR"}
    assert (await run("status", "cli-1")).stdout == "Order cli-1 is completed.\n"
    again = read(await run("start", "cli-1", "--json"))
    assert (again["workflow_id"], again["already_started"]) == ("order-cli-1", True)
    refused(await run("cancel", "cli-1"), "has ended, it is completed", terminal.REFUSED)


@pytest.mark.usefixtures("working")
async def test_a_saved_card_is_charged_and_a_new_one_is_saved(
    run: Run, cards: InMemoryCards
) -> None:
    customer = cards.add_customer()
    pays = ("place", "--stripe-customer", customer, "--receipt-email", "ada@example.com")
    await run(*pays, "--order-id", "cli-saves", "--setup-future-usage", "off_session")
    assert read(await run("result", "cli-saves", "--json"))["status"] == "completed"
    [saved] = cards.cards_of(customer)
    placed = await run(*pays, "--order-id", "cli-away", "--card", saved, "--off-session")
    assert placed.exit_code == 0, placed.output
    assert read(await run("result", "cli-away", "--json"))["status"] == "completed"
    [charged] = cards.charges_of("cli-away")
    assert cards.announced[charged.payment_id].details.receipt_email == "ada@example.com"
    assert len(cards.off_session) == 1


async def test_options_that_do_not_go_together_are_refused(run: Run) -> None:
    alone = await run("place", "--off-session")
    refused(alone, "name the customer of the card provider's", terminal.REFUSED)
    both = ("--off-session", "--setup-future-usage", "on_session", "--stripe-customer", "cus_1")
    refused(await run("place", *both), "not saved while its customer is away", terminal.REFUSED)


@pytest.mark.usefixtures("working")
async def test_an_order_with_ordinary_texts_is_carried_and_given_back(
    run: Run,
    begin: Begin,
    aside: Aside,
    database: Database,
    warehouse: InMemoryWarehouse,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shirt = Product("T SHIRT (L)", "T-shirt, large", Money(29_00, "EUR"), 10)
    await add_products(database, [shirt])
    address = "12 St James's Square\nLondon SW1Y 4JH\nUnited Kingdom"
    customer = "auth0|5f7c8ec7c33c6c004bbafe82"
    texts = ("--customer", customer, "--address", address, "--line", "T SHIRT (L)=2")
    placed = read(await run("place", "--order-id", "cli-odd", *texts, "--json"))
    ended = read(await run("result", "cli-odd", "--json"))

    assert (placed["total"]["amount"], ended["status"]) == (5800, "completed")
    sent = warehouse.requests["cli-odd"]
    assert (sent.quantities, sent.recipient.address) == ((("T SHIRT (L)", 2),), address)
    given = await run("refund", "request", "cli-odd", "r1", "--line", "T SHIRT (L)=1")
    assert given.exit_code == 0, given.output
    await aside.refunds.result("cli-odd", "r1")
    [entry] = read(await run("refund", "list", "cli-odd", "--json"))
    assert entry["lines"] == [["T SHIRT (L)", 1]]

    async def listed() -> bool:
        rows = read(await run("list", "--json"))
        return (customer, "cli-odd") in {(row["customer_id"], row["order_id"]) for row in rows}

    await eventually(listed)
    monkeypatch.setenv("COLUMNS", "200")
    listing = begin("list")
    assert await listing.ends() == 0
    assert customer in listing.said


@pytest.mark.usefixtures("working")
async def test_watching_as_json_is_a_line_per_change_without_personal_data(run: Run) -> None:
    card = "pm_card_visa_chargeDeclined"
    await run("place", "--order-id", "cli-2", "--card", card)
    watched = await run("watch", "cli-2", "--json")

    last = json.loads(watched.stdout.splitlines()[-1])
    assert (last["status"], last["reason"], last["doing"]) == ("rejected", "card_declined", "ended")
    assert "Ada" not in watched.stdout


async def test_without_options_a_mug_is_ordered(run: Run) -> None:
    placed = read(await run("place", "--json"))
    assert placed["total"] == {"amount": 2900, "currency": "EUR"}
    assert placed["run"]["workflow_id"] == f"order-{placed['order_id']}"


async def test_an_order_that_is_not_started_says_how_to_start_it(run: Run) -> None:
    placed = await run("place", "--no-start", "--order-id", "cli-3")

    start = f"{PROGRAM} start cli-3"
    assert f"Start it: {start}\n" in placed.stdout
    assert read(await run("status", "cli-3", "--json"))["doing"] == "not started yet"
    for command in ("result", "watch"):
        said = await run(command, "cli-3")
        refused(said, "not started: start it first", terminal.REFUSED, start)


@pytest.mark.parametrize("wait", ["5", "0"])
async def test_an_order_that_is_not_started_is_cancelled(run: Run, wait: str) -> None:
    order_id = f"cli-unstarted-{wait}"
    await run("place", "--no-start", "--order-id", order_id)

    said = await run("cancel", order_id, "--wait", wait)

    assert said.exit_code == 0
    if wait != "0":
        assert f"Order {order_id} is cancelled: nothing was taken." in said.stdout
    assert read(await run("status", order_id, "--json"))["status"] == "cancelled"


async def test_a_stranded_order_is_not_started_before(run: Run, temporal_server: Temporal) -> None:
    await run("place", "--order-id", "cli-stranded")
    temporal = await temporal_server.connect()
    await temporal.get_workflow_handle(workflow_id("cli-stranded")).terminate()
    said = await run("start", "cli-stranded")
    sentence, command = said.stderr.splitlines()
    assert "is placed and nothing carries it on, its run is terminated" in sentence
    assert "temporal workflow reset --workflow-id order-cli-stranded" in command


async def test_without_a_worker_cancelling_says_that_nobody_answered(run: Run) -> None:
    await run("place", "--order-id", "cli-4")

    refused(await run("cancel", "cli-4", "--wait", "0.3"), "No worker answered", terminal.REFUSED)
    left = await run("cancel", "cli-4", "--wait", "0")
    assert f"{PROGRAM} watch cli-4\n" in left.stdout


async def test_started_orders_are_listed(run: Run, aside: Aside) -> None:
    await run("place", "--order-id", "cli-5")

    async def listed() -> bool:
        return "cli-5" in [row.order_id async for row in aside.orders.list(Status.PLACED)]

    await eventually(listed, within=10)
    rows = read(await run("list", "--status", "placed", "--json"))
    assert "cli-5" in {row["order_id"] for row in rows}
    assert "cli-5" in (await run("list")).stdout


@pytest.mark.parametrize("command", ["start", "status", "watch", "cancel", "result"])
async def test_an_unknown_order_is_refused(run: Run, command: str) -> None:
    refused(await run(command, "nobody"), "There is no order nobody.", terminal.REFUSED)


async def test_what_the_catalogue_cannot_sell_is_refused(run: Run) -> None:
    refused(await run("place", "--line", "MUG=0"), "it must be from 1 to 10000", terminal.REFUSED)
    refused(await run("place", "--line", "MUG=-3"), "it must be from 1 to 10000", terminal.REFUSED)
    refused(await run("place", "--line", "CAR=1"), "CAR is not in the catalogue", terminal.REFUSED)
    clip = await run("place", "--line", "CLIP=1")
    refused(clip, "0.20 EUR is too little for a card: the smallest", terminal.REFUSED)
    dates = await run("place", "--line", "DATES=1")
    refused(dates, "amounts of KWD go in steps of 0.010 KWD", terminal.REFUSED)


async def test_another_basket_under_the_same_id_is_refused(run: Run) -> None:
    await run("place", "--no-start", "--order-id", "cli-6")
    again = await run("place", "--no-start", "--order-id", "cli-6", "--line", "TEE=1")
    refused(again, "exists already, with other contents", terminal.REFUSED)


async def test_a_line_that_cannot_be_read_is_used_wrongly(run: Run) -> None:
    result = await run("place", "--line", "two mugs")
    assert result.exit_code == terminal.USED_WRONGLY
    assert "MUG=2 for example" in result.stderr
    refused(await run("start", "a b"), "is not an order id", terminal.USED_WRONGLY)


async def test_without_temporal_nothing_is_placed(
    run: Run, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    sentence = "Temporal does not answer at 127.0.0.1:1 (connection refused)"
    refused(await run("place", "--order-id", "cli-7"), sentence, terminal.UNREACHABLE)

    monkeypatch.undo()
    with pytest.raises(LookupError):
        await PostgresOrderRepository(database).get("cli-7")


async def test_without_the_database_it_says_where_to_look(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:1/orders")
    result = await run("place")
    refused(result, "running where DATABASE_URL points?", terminal.UNREACHABLE)
    assert "secret" not in result.stderr


async def test_missing_settings_are_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    refused(await run("status", "cli-1"), "DATABASE_URL is not set", terminal.USED_WRONGLY)


# -- as a process ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("run")
async def test_the_program_is_the_command_line(begin: Begin) -> None:
    placing = begin("place", "--order-id", "cli-8", "--json")
    asking = begin("status", "nobody")

    assert await placing.ends() == 0
    assert json.loads(placing.said)["order_id"] == "cli-8"
    assert await asking.ends() == terminal.REFUSED
    assert asking.said == "There is no order nobody.\n"


async def test_the_program_ends_quietly_when_it_is_interrupted(run: Run, begin: Begin) -> None:
    watching = await begun_to_watch("cli-9", run, begin)
    told = watching.said

    watching.process.send_signal(signal.SIGINT)

    assert await watching.ends() == 130
    assert watching.said == told


@pytest.mark.skipif(sys.platform != "linux", reason="sends a signal to one thread")
async def test_an_interruption_is_heard_whichever_thread_receives_it(
    run: Run, begin: Begin
) -> None:
    """The system gives a signal to any thread; the loop sleeps in another, and must wake up."""
    watching = await begun_to_watch("cli-10", run, begin)
    told, pid = watching.said, watching.process.pid
    other = next(thread.id for thread in psutil.Process(pid).threads() if thread.id != pid)

    assert ctypes.CDLL(None).tgkill(pid, other, signal.SIGINT) == 0

    assert await watching.ends() == 130
    assert watching.said == told


async def begun_to_watch(order_id: str, run: Run, begin: Begin) -> Begun:
    """The program, watching an order that nobody works for, once it has said all there is."""
    await run("place", "--order-id", order_id)
    watching = begin("watch", order_id)

    async def watches() -> bool:
        return watching.said.endswith(" …\n")

    await eventually(watches)
    return watching
