"""What becomes of a request when a neighbour, a proxy or the network does what it likes."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import Enum, auto
from itertools import count
from pathlib import Path
from typing import Final, Self

import pytest

from durable_orders.domain.order import Recipient
from durable_orders.domain.ports import Mail, NoAnswerError, ShippingRequest
from durable_orders.providers.http_client import HttpClient, HttpReply
from durable_orders.providers.http_replies import TransportError
from durable_orders.providers.resend.mailer import ResendMailer
from durable_orders.providers.stripe.account import read_account
from durable_orders.providers.stripe.cards import StripeCards
from durable_orders.providers.warehouse.client import HttpWarehouse
from sandbox.ports import free_port
from tests.support.eventually import eventually
from tests.support.keys import INSTALLATION
from tests.unit.canned import Request, http, read_request

KEY: Final = {"Idempotency-Key": "k"}


class End(Enum):
    """What becomes of a connection after an answer."""

    KEEP = auto()
    CLOSE = auto()
    RESET = auto()


Answer = tuple[bytes, End]
KEPT: Final[Answer] = (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", End.KEEP)
HUNG_UP: Final[Answer] = (b"", End.CLOSE)
RESET: Final[Answer] = (b"", End.RESET)


class Neighbour:
    """A server that answers the requests on a connection, the first of which is number 1."""

    def __init__(self, answer: Callable[[int], Answer | Awaitable[Answer]]) -> None:
        self._answer = answer
        self.requests: list[Request] = []
        self.opened = 0
        self.open: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            host, port = server.sockets[0].getsockname()
            yield f"http://{host}:{port}"
            self.hang_up()

    def hang_up(self) -> None:
        for writer in self.open:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self.open.add(writer)
        try:
            for number in count(1):
                self.requests.append(await read_request(reader))
                answer = self._answer(number)
                content, end = await answer if isinstance(answer, Awaitable) else answer
                writer.write(content)
                await writer.drain()
                if end is End.RESET:
                    link: socket.socket = writer.get_extra_info("socket")
                    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if end is not End.KEEP:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()


async def until(condition: Callable[[], bool]) -> None:
    async def holds() -> bool:
        return condition()

    await eventually(holds)


@asynccontextmanager
async def client(
    *, longest_pause: float = 20.0, connect_timeout: float = 5.0
) -> AsyncIterator[HttpClient]:
    it = HttpClient(timeout=longest_pause, connect_timeout=connect_timeout)
    try:
        yield it
    finally:
        await it.aclose()


# -- broken answers, at every adapter --------------------------------------------------------------

ADA: Final = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square")


async def at_warehouse(url: str, seconds: float = 5) -> object:
    async with HttpWarehouse(url, "key", timeout=seconds) as warehouse:
        request = ShippingRequest("1001", ADA, (("MUG", 1),), INSTALLATION)
        return await warehouse.fulfill(request, key="k")


async def at_resend(url: str, seconds: float = 5) -> object:
    async with ResendMailer("re_1", sender="s@example.com", api_url=url, timeout=seconds) as mailer:
        return await mailer.send(Mail("ada@example.com", "s", "<p>t</p>", "t"), key="k")


async def at_stripe(url: str, seconds: float = 5) -> object:
    async with StripeCards(
        "sk_test_1", api_base=url, timeout=seconds, money_timeout=seconds
    ) as cards:
        return await cards.confirm("pi_1", payment_method="pm_card_visa", key="k")


async def at_stripes_account(url: str) -> object:
    return await read_account("sk_test_1", api_base=url)


CALLS = pytest.mark.parametrize("call", [at_warehouse, at_resend, at_stripe, at_stripes_account])
Call = Callable[..., Awaitable[object]]


HEAD: Final = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
HALF: Final = http(200, {"id": "1"})[:-4]
BROKEN: Final[dict[str, bytes | Answer]] = {
    "nothing": HUNG_UP,
    "a reset": RESET,
    "a reset in the middle of the body": (HALF, End.RESET),
    "half a body": HALF,
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "binary": bytes(range(256)) * 4,
    "another version": b"HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "a length that is none": f"{HEAD}Content-Length: many\r\n\r\n{{}}".encode(),
    "two lengths": f"{HEAD}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}".encode(),
    "pieces of no length": f"{HEAD}Transfer-Encoding: chunked\r\n\r\nxyz\r\n{{}}".encode(),
    "half a piece": f"{HEAD}Transfer-Encoding: chunked\r\n\r\n9\r\n{{}}".encode(),
    "an endless header": f"{HEAD}X: {'x' * 100_000}\r\n\r\n{{}}".encode(),
    "headers without end": (HEAD + "X: x\r\n" * 9_999 + "\r\n{}").encode(),
    "a redirect": http(302, {"id": "1"}, Location="https://elsewhere.example/"),
    "a redirect to nowhere": http(307, {"id": "1"}, Location="http://[::"),
    "another protocol": b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
}


@CALLS
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_answer_is_no_answer(call: Call, broken: bytes | Answer) -> None:
    answer = broken if isinstance(broken, tuple) else (broken, End.CLOSE)
    neighbour = Neighbour(lambda _: answer)
    async with neighbour.listening() as url:
        with pytest.raises(NoAnswerError) as raised:
            await call(url)
    assert type(raised.value) is NoAnswerError
    assert raised.value.__cause__ is None
    assert str(raised.value).isprintable()
    assert len(neighbour.requests) == 1


@CALLS
async def test_nobody_there_is_no_answer(call: Call) -> None:
    with pytest.raises(NoAnswerError) as raised:
        await call(f"http://127.0.0.1:{free_port()}")
    assert "Cannot connect" in str(raised.value) or "Resend gave no answer" in str(raised.value)


@pytest.mark.parametrize("call", [at_warehouse, at_resend, at_stripe])
async def test_an_answer_in_drops_is_cut_off_in_time(call: Call) -> None:
    """No pause in it is long."""

    async def dripping(_: int) -> Answer:
        [writer] = neighbour.open
        while not writer.is_closing():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await asyncio.sleep(0.02)
        return HUNG_UP

    neighbour = Neighbour(dripping)
    async with neighbour.listening() as url:
        with pytest.raises(NoAnswerError, match="TimeoutError"):
            await call(url, 0.3)


# -- the client itself -----------------------------------------------------------------------------


async def post(it: HttpClient, url: str, **headers: str) -> HttpReply:
    return await it.request("POST", f"{url}/", headers=headers, body=b"{}")


async def test_a_connection_is_used_again_without_cookies_and_redirects() -> None:
    head = "Set-Cookie: a=b\r\nLocation: /elsewhere\r\nContent-Length: 0"
    neighbour = Neighbour(lambda _: (f"HTTP/1.1 303 See\r\n{head}\r\n\r\n".encode(), End.KEEP))
    async with neighbour.listening() as url, client() as it:
        named = url.replace("127.0.0.1", "localhost")  # an address has no cookies anyway
        replies = [await it.request("GET", f"{named}/", headers={}) for _ in range(3)]
    assert [(reply.status, reply.headers["location"]) for reply in replies] == [
        (303, "/elsewhere")
    ] * 3
    assert (neighbour.opened, len(neighbour.requests)) == (1, 3)
    assert not any("cookie" in request.headers for request in neighbour.requests)
    assert {request.headers["accept-encoding"] for request in neighbour.requests} == {"identity"}


class Elsewhere:
    """A server in a thread: it goes on while the event loop here does not. It answers the first
    request on each connection, and closes the connection when it is told to.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.opened = 0
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def hang_up(self) -> None:
        for link in self._open:
            if isinstance(link, ssl.SSLSocket):
                link.setblocking(False)  # noqa: FBT003 - the socket's
                with contextlib.suppress(ssl.SSLWantReadError):
                    link.unwrap()  # the other side's goodbye is not waited for
            link.close()
        self._open.clear()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = self._listener.accept()
                if self._tls:
                    link = self._tls.wrap_socket(link, server_side=True)
                self.opened += 1
                received = b""
                while not received.endswith(b"{}"):
                    received += (piece := link.recv(65_536))
                    if not piece:
                        return
                self._open.append(link)
                link.sendall(KEPT[0])


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_connection_that_was_closed_while_idle_costs_nothing(
    scheme: str, certificate: Path, environment: pytest.MonkeyPatch
) -> None:
    """Not even when the event loop has had no time to see it."""
    environment.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    with Elsewhere(server_tls(certificate) if scheme == "https" else None) as neighbour:
        async with client() as it:
            for opened in range(1, 10):
                assert (await post(it, neighbour.url)).body == b"{}"
                assert neighbour.opened == opened
                neighbour.hang_up()


async def closed_here() -> None:
    """Let the event loop see what has come from the other side."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("last", [HUNG_UP, RESET], ids=["hung up", "reset"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("is_new", [True, False])
async def test_a_request_is_sent_once(*, is_new: bool, method: str, last: Answer) -> None:
    neighbour = Neighbour(lambda number: KEPT if number == 1 and not is_new else last)
    async with neighbour.listening() as url, client() as it:
        if not is_new:
            await post(it, url)
        with pytest.raises(TransportError):
            await it.request(method, f"{url}/", headers=KEY)
    assert (neighbour.opened, len(neighbour.requests)) == (1, 1 if is_new else 2)


@pytest.mark.parametrize("end", [End.CLOSE, End.RESET])
async def test_an_answer_that_breaks_off_is_not_asked_for_again(end: End) -> None:
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"
    neighbour = Neighbour(lambda number: KEPT if number == 1 else (half, end))
    async with neighbour.listening() as url, client() as it:
        await post(it, url)
        with pytest.raises(TransportError):
            await it.request("POST", f"{url}/", headers=KEY)
    assert len(neighbour.requests) == 2


async def test_an_address_that_does_not_answer_is_given_up() -> None:
    """Its queue of connections is full."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):
            link = stack.enter_context(socket.socket())
            link.setblocking(False)  # noqa: FBT003 - the socket's
            link.connect_ex(full.getsockname())
        async with client(connect_timeout=0.2) as it, asyncio.timeout(10):
            with pytest.raises(TransportError, match="ConnectionTimeoutError"):
                await post(it, f"http://127.0.0.1:{full.getsockname()[1]}")


async def test_a_silence_is_given_up() -> None:
    neighbour = Neighbour(never)
    async with (
        neighbour.listening() as url,
        client(longest_pause=0.2) as it,
        asyncio.timeout(10),
    ):
        with pytest.raises(TransportError, match="Timeout"):
            await post(it, url)


async def never(_: int) -> Answer:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_request_under_way_ends_with_its_client() -> None:
    neighbour = Neighbour(never)
    async with neighbour.listening() as url, client() as it:
        asked = [asyncio.create_task(post(it, url, **headers)) for headers in ({}, KEY)]
        await until(lambda: len(neighbour.requests) == 2)
        await it.aclose()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [TransportError] * 2
        with pytest.raises(TransportError, match="closed"):
            await post(it, url)
    assert len(neighbour.requests) == 2


async def test_a_caller_that_gives_up_leaves_no_answer_to_the_next() -> None:
    answered = asyncio.Event()

    async def late(number: int) -> Answer:
        await answered.wait()
        return KEPT

    neighbour = Neighbour(late)
    async with neighbour.listening() as url, client() as it:
        asked = asyncio.create_task(post(it, url))
        await until(lambda: len(neighbour.requests) == 1)
        asked.cancel()
        await asyncio.wait([asked])
        answered.set()
        assert (await post(it, url)).body == b"{}"
    assert neighbour.opened == 2


async def test_more_requests_than_connections_wait_for_one() -> None:
    most = 0
    doors = asyncio.Event()

    async def slowly(_: int) -> Answer:
        nonlocal most
        most = max(most, len(neighbour.open))
        await doors.wait()
        return KEPT

    neighbour = Neighbour(slowly)
    async with neighbour.listening() as url, client() as it:
        asked = [asyncio.create_task(post(it, url)) for _ in range(250)]
        await until(lambda: len(neighbour.requests) == 100)
        await closed_here()
        assert len(neighbour.requests) == 100
        doors.set()
        replies = await asyncio.gather(*asked)
    assert [reply.body for reply in replies] == [b"{}"] * 250
    assert (most, neighbour.opened) == (100, 100)


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://127.0.0.1:1/", {"Authorization": "a\r\nX: y"}),
        ("http://127.0.0.1:1/", {"Authorization": "a\x00"}),
        ("http:///", {}),
        ("http://127.0.0.1:99999/", {}),
        ("ftp://127.0.0.1/", {}),
    ],
)
async def test_what_cannot_be_sent_is_no_crash(url: str, headers: dict[str, str]) -> None:
    async with client() as it:
        with pytest.raises(TransportError):
            await it.request("GET", url, headers=headers)


# -- the environment -------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without proxies and certificates."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_a_proxy_of_the_environment_is_used(
    environment: pytest.MonkeyPatch, name: str
) -> None:
    proxy = Neighbour(lambda _: KEPT)
    async with proxy.listening() as url:
        environment.setenv(name, url.replace("http://", "http://ada:secret@"))
        async with client() as it:
            headers = {"Authorization": "Bearer ours"}
            reply = await it.request("GET", "http://warehouse.invalid/a%2Fb?c=d", headers=headers)
    assert reply.body == b"{}"
    [request] = proxy.requests
    assert request.target == "http://warehouse.invalid/a%2Fb?c=d"
    assert request.headers["authorization"] == "Bearer ours"
    assert request.headers["proxy-authorization"].startswith("Basic ")


async def test_a_tunnel_through_a_proxy_that_refuses_is_no_answer(
    environment: pytest.MonkeyPatch,
) -> None:
    proxy = Neighbour(lambda _: (http(403, "Ada Lovelace"), End.CLOSE))
    async with proxy.listening() as url:
        environment.setenv("HTTPS_PROXY", url)
        async with client() as it:
            with pytest.raises(TransportError) as raised:
                await post(it, "https://stripe.invalid")
    [request] = proxy.requests
    assert (request.method, request.target) == ("CONNECT", "stripe.invalid:443")
    assert "Ada" not in str(raised.value)


@pytest.mark.parametrize("bypassed", ["127.0.0.1", "*", "example.com,127.0.0.1"])
async def test_no_proxy_goes_past_it(environment: pytest.MonkeyPatch, bypassed: str) -> None:
    neighbour = Neighbour(lambda _: KEPT)
    environment.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    environment.setenv("NO_PROXY", bypassed)
    async with neighbour.listening() as url, client() as it:
        assert (await post(it, url)).body == b"{}"
    assert [request.target for request in neighbour.requests] == ["/"]


async def test_a_proxy_of_another_kind_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    async with client() as it:
        with pytest.raises(TransportError, match="a proxy that is none of HTTP"):
            await post(it, "http://warehouse.invalid")


async def test_a_netrc_is_not_read(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login ada password secret\n")
    environment.setenv("NETRC", str(netrc))
    neighbour = Neighbour(lambda _: KEPT)
    async with neighbour.listening() as url, client() as it:
        await post(it, url)
        await post(it, url, Authorization="Bearer ours")
    assert [request.headers.get("authorization") for request in neighbour.requests] == [
        None,
        "Bearer ours",
    ]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody has signed but itself, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=here", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(file), "-out", str(file.with_suffix(".crt"))),
        ],
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text() + file.with_suffix(".crt").read_text())
    return file


def server_tls(certificate: Path) -> ssl.SSLContext:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    return tls


@asynccontextmanager
async def over_tls(certificate: Path) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(http(200, {}))
        writer.close()

    async with await asyncio.start_server(
        serve, "127.0.0.1", 0, ssl=server_tls(certificate)
    ) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.usefixtures("environment")
async def test_a_certificate_that_nobody_has_signed_is_refused(certificate: Path) -> None:
    async with over_tls(certificate) as url:
        async with client() as it:
            with pytest.raises(TransportError, match="CertificateError"):
                await post(it, url)
        with pytest.raises(NoAnswerError, match="CertificateError"):
            await at_stripe(url)


async def test_certificates_are_trusted_that_the_environment_names(
    environment: pytest.MonkeyPatch, certificate: Path
) -> None:
    environment.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
    async with over_tls(certificate) as url:
        async with client() as it:
            assert (await post(it, url)).body == b"{}"
        # The SDK's own are named by nobody.
        with pytest.raises(NoAnswerError, match="CertificateError"):
            await at_stripe(url)
