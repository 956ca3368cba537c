"""Log of the requests to Stripe, as its dashboard has one; the newest are kept in memory.

`GET /sandbox/requests?after=SEQ` shows them, oldest first, with their parameters as they were sent;
`newest` is the number of the newest.
"""

from collections import deque
from dataclasses import asdict, dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.world.control_requests import error_response

LENGTH: Final = 5000


@dataclass(frozen=True)
class LoggedRequest:
    """One request; `parameters` is the form, or the query of a GET."""

    seq: int
    method: str
    path: str
    parameters: str
    api_version: str | None


class RequestLog:
    """The newest requests, in order."""

    def __init__(self) -> None:
        self.newest = 0
        self._requests: deque[LoggedRequest] = deque(maxlen=LENGTH)

    def add(self, method: str, path: str, parameters: str, api_version: str | None) -> None:
        self.newest += 1
        self._requests.append(LoggedRequest(self.newest, method, path, parameters, api_version))

    def after(self, seq: int) -> list[LoggedRequest]:
        return [request for request in self._requests if request.seq > seq]


def request_log_routes(log: RequestLog) -> list[Route]:
    async def requests(request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not after.isdecimal():
            return error_response(400, f"after is the seq of a request, not {after!r}.")
        found = [asdict(logged) for logged in log.after(int(after))]
        return JSONResponse({"requests": found, "newest": log.newest})

    return [Route("/sandbox/requests", requests)]
