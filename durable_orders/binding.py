"""Check of the card provider's account, for processes that have a key of it.

A copied database, or the key of another environment in ``.env``, and a worker would charge, release
and refund in another's name. So no request is sent with a key before its account and mode have been
compared with those that the installation is bound to.
"""

from __future__ import annotations

import asyncio
import logging

from durable_orders.domain.installation import (
    AccountReader,
    InstallationRepository,
    OtherAccountError,
)
from durable_orders.domain.ports import ProviderError

log = logging.getLogger(__name__)


class BindingCheck:
    """Compares the account of this process's key with the installation's, once.

    The first process with a key binds the installation. In seconds: no process waits longer than
    ``patience`` for the answer before it starts, and it asks again after each ``pause``.
    """

    def __init__(
        self,
        read_account: AccountReader,
        installations: InstallationRepository,
        *,
        patience: float = 10.0,
        pause: float = 5.0,
    ) -> None:
        self._read_account = read_account
        self._installations = installations
        self._patience, self._pause = patience, pause
        self._asking: asyncio.Task[None] | None = None
        self._has_passed = False
        self._refusal: OtherAccountError | None = None

    async def require(self) -> None:
        """Return once the account is known to be the right one. All callers share one question.

        Raises ``OtherAccountError``; another ``ProviderError`` while nobody answers.
        """
        if self._has_passed:
            return
        if self._refusal is not None:
            raise self._refusal
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="binding")
            self._asking.add_done_callback(_retrieve)
        await asyncio.shield(self._asking)

    async def at_start(self) -> None:
        """Check before the process starts; without an answer it starts, and ``require`` waits.

        Raises ``OtherAccountError``.
        """
        try:
            async with asyncio.timeout(self._patience):
                await self.require()
        except OtherAccountError:
            raise
        except (ProviderError, TimeoutError) as error:
            log.warning(
                "it is not known yet whether STRIPE_API_KEY is the key of the account that this "
                "installation is bound to: until then nothing is asked of Stripe with it (%s)",
                str(error) or "no answer in time",
            )

    async def until_known(self) -> None:
        """Return once the check has passed. Raises ``OtherAccountError``."""
        while True:
            try:
                return await self.require()
            except OtherAccountError:
                raise
            except ProviderError as error:
                log.debug("the account is not known yet: %s", error)
            await asyncio.sleep(self._pause)

    async def _ask(self) -> None:
        seen = await self._read_account()
        try:
            installation = await self._installations.bind(seen)
        except OtherAccountError as refusal:
            self._refusal = refusal
            raise
        self._has_passed = True
        log.info("the installation %s is bound to %s", installation.name, installation.account)


def _retrieve(asked: asyncio.Task[None]) -> None:
    """Take the error of a question whose callers were all cancelled."""
    if not asked.cancelled():
        asked.exception()
