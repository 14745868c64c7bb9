"""Connections to served models, kept open between questions."""

from collections.abc import AsyncIterator, Mapping

import aiohttp

CONNECT_S = 5.0
_KEPT_S = 60.0
"""An idle connection is kept so long: a rank keeps it longer."""
_UNSENT = ("User-Agent", "Accept", "Accept-Encoding")


class RankGone(Exception):
    """The rank cannot be reached, or ended in the middle of its answer."""


class RankSilent(Exception):
    """Nothing came for longer than was to be waited."""


class RankAnswer:
    """The head of an answer; its body is still to be read, and it is to be closed."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    @property
    def is_stream(self) -> bool:
        """Whether it comes piece by piece."""
        return self.headers.get("content-type", "").startswith("text/event-stream")

    async def read(self) -> bytes:
        """The whole body. Raises RankGone, RankSilent."""
        try:
            return await self._response.read()
        except TimeoutError as error:
            raise RankSilent from error
        except aiohttp.ClientError as error:
            raise RankGone from error

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises RankGone, RankSilent."""
        try:
            async for piece in self._response.content.iter_any():
                yield piece
        except TimeoutError as error:
            raise RankSilent from error
        except aiohttp.ClientError as error:
            raise RankGone from error

    def close(self) -> None:
        """Nobody reads on: where the body was not read to its end, the rank is told by the connection's."""
        self._response.close()


class Ranks:
    """Whoever was asked. Used from one event loop, in which the first question opens it."""

    def __init__(self, timeout_s: float) -> None:
        """`timeout_s` is the longest silence."""
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, url: str, headers: Mapping[str, str], body: bytes) -> RankAnswer:
        """The head of the answer to `body`. Raises RankGone, RankSilent."""
        if self._session is None:
            self._session = self._opened()
        try:
            return RankAnswer(
                await self._session.post(url, data=body, headers=headers, allow_redirects=False)
            )
        except aiohttp.ConnectionTimeoutError as error:
            raise RankGone from error
        except TimeoutError as error:
            raise RankSilent from error
        except aiohttp.ClientError as error:
            raise RankGone from error

    async def close(self) -> None:
        """Let go of all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_S),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_UNSENT,
            trust_env=False,
        )
