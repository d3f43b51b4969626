"""Who may ask: the host a request was meant for, where a page that asks is from, the key; and how much may be sent and how slowly, both ways."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ftheta.serving.http.errors import Refusal

LOOPBACK = ("localhost", "127.0.0.1", "::1")
BODY, SLOW = 1 << 20, 30.0
"""Bytes a body may have, and seconds that it, or the reading of a piece of an answer, may take."""
OPEN = ("/health", "/ready")
"""Asked by machines that have no key."""


class TooSlow(Exception):
    """A client does not read what it asked for."""


class Guard:
    """Refuses before anything is read: 401 without the key, 403 for other hosts and other pages, 413 and 408 for bodies too large or too slow. An answer
    that a client does not read is stopped.

    A request to a loopback address must name it (Host), so that no page can reach it under a name of its own; a page that asks (Origin) must be
    from here. `hosts` are further names; with a key and none of these, any host will do. `open_` are addresses that need no key.
    """

    def __init__(self, app: ASGIApp, key: str | None, hosts: Sequence[str], body: int, seconds: float, open_: Sequence[str] = OPEN):
        self.app, self.key, self.hosts, self.body, self.seconds = app, key, {*LOOPBACK, *hosts}, body, seconds
        self.open = open_
        self.any_host = key is not None and not hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            self.check(scope["path"], headers)
            given = self.limited(receive)
            await self.app(scope, given, self.patient(send))
        except TooSlow:                                                                   # what answers has been stopped; nobody reads what more is said
            return
        except Refusal as refused:
            await refused.response()(scope, receive, send)

    def check(self, path: str, headers: dict[str, str]) -> None:
        """Raise Refusal for what may not be asked."""
        host = hostname(f"//{headers.get('host', '')}")
        if not self.any_host and host not in self.hosts:
            raise Refusal(403, "this server does not go by the name in the Host header", code="wrong_host")
        if "origin" in headers and netloc(headers["origin"]) != headers.get("host", ""):
            raise Refusal(403, "pages from elsewhere may not ask", code="wrong_origin")
        if self.key is not None and path not in self.open:
            sent = headers.get("authorization", "").removeprefix("Bearer ").encode("latin-1", "replace")
            if not hmac.compare_digest(sent, self.key.encode()):
                raise Refusal(401, "the key is missing or wrong: send it as 'Authorization: Bearer KEY'", code="invalid_api_key")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > self.body:
            raise Refusal(413, f"the body may have {self.body:,} bytes at most", code="too_large")

    def patient(self, send: Send) -> Send:
        """`send`, which stops the answer when a piece of it has not been taken for too long."""
        async def sent(message: Message) -> None:
            try:
                await asyncio.wait_for(send(message), self.seconds)
            except TimeoutError:
                raise TooSlow from None

        return sent

    def limited(self, receive: Receive) -> Receive:
        """`receive`, until too much has come or it has taken too long."""
        size, end, whole = 0, asyncio.get_running_loop().time() + self.seconds, False

        async def given() -> Message:
            nonlocal size, whole
            if whole:                                                                     # now it only tells when the client has gone
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, end - asyncio.get_running_loop().time()))
            except TimeoutError:
                raise Refusal(408, "the body came too slowly", code="too_slow") from None
            size += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if size > self.body:
                raise Refusal(413, f"the body may have {self.body:,} bytes at most", code="too_large")
            return message

        return given


def hostname(address: str) -> str | None:
    """The host of an address; None where there is none."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def netloc(origin: str) -> str | None:
    """The host and port of an origin; None where there is none."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None
