"""Models in a process of their own, behind one that only passes requests on. When it dies, by a fault of a library or the system's hand, those who wait
are told so, and it is started again.

What is behind is the whole server, on a socket of this machine; so an answer is the same, and there is nothing here that knows what is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import h11
import uvicorn
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from ftheta.core.errors import FthetaError, UsageError
from ftheta.serving.http.answers import event
from ftheta.serving.http.errors import Refusal
from ftheta.serving.http.guard import BODY, OPEN, SLOW, Guard
from ftheta.serving.http.order import DRAIN, LISTENING, Order, address
from ftheta.serving.http.page import assets

COMMAND = "from ftheta.serving.http.apart import behind; behind()"
OWN = {b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"expect", b"proxy-connection", b"x-forwarded-for", b"x-forwarded-proto"}
"""Headers that are between two machines and not passed on."""
LEAST, MOST = 0.5, 60.0
"""Seconds before it is started again: twice as many each time, unless it has lived for the most."""
DIED = Refusal(502, "the models' process has ended while it answered; the request may be sent again", code="engine_died")
STARTING = Refusal(503, "the models are being started again", code="starting", after=2.0)
log = logging.getLogger("ftheta.serving")


class Apart:
    """The process that holds the models."""

    def __init__(self, order: Order):
        self.order = order
        self.folder = tempfile.TemporaryDirectory(prefix="ftheta-")                       # nobody else may look into it
        self.place = Path(self.folder.name) / "socket"
        self.process: asyncio.subprocess.Process | None = None
        self.up = self.stopping = False
        self.keeping: asyncio.Task[None] | None = None

    async def start(self, show: Callable[[str], None]) -> None:
        """Start it, until it serves. Raises what its models raise."""
        self.place.unlink(missing_ok=True)
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"order": self.order.dump(), "socket": str(self.place)}).encode() + b"\n")
        while line := await self.process.stdout.readline():
            said = json.loads(line)
            if "error" in said:
                raise (UsageError if said["usage"] else FthetaError)(said["error"])
            if "show" not in said:
                self.up = True
                return
            show(said["show"])
        raise FthetaError(f"the models' process ended with {await self.process.wait()} before it served")

    async def keep(self) -> None:
        """Start it again whenever it ends."""
        delay = LEAST
        while True:
            assert self.process is not None
            began = time.monotonic()
            code = await self.process.wait()
            self.up = False
            if self.stopping:
                return
            log.error("the models' process has ended (%s) and is started again", code)
            delay = LEAST if time.monotonic() - began > MOST else delay
            await asyncio.sleep(delay)
            delay = min(2 * delay, MOST)
            try:
                await self.start(lambda line: None)
            except FthetaError as error:
                log.error("the models' process could not be started: %s", error)

    async def stop(self) -> None:
        """Let it end what it is doing."""
        self.stopping = True
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.process.wait(), DRAIN)
            except TimeoutError:
                self.process.kill()
        self.folder.cleanup()


class PassOn:
    """Gives requests to the process behind, and its answers back as they come. While it is not there, 503."""

    def __init__(self, apart: Apart):
        self.apart = apart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
        elif scope["path"] == "/health":
            await JSONResponse({"status": "ok"})(scope, receive, send)
        elif not self.apart.up:
            await STARTING.response()(scope, receive, send)
        else:
            await self.pass_on(scope, receive, send)

    async def live(self, receive: Receive, send: Send) -> None:
        """As long as the server does, so does the process."""
        await receive()
        self.apart.keeping = asyncio.create_task(self.apart.keep())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.apart.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = streams = False

        async def tell(message: Message) -> None:
            nonlocal started, streams
            started = True
            streams = streams or (b"content-type", b"text/event-stream") in [(name, value.partition(b";")[0]) for name, value in message.get("headers", ())]
            await send(message)

        try:
            reader, writer = await asyncio.open_unix_connection(str(self.apart.place))
        except OSError:                                                                   # it has just died
            await STARTING.response()(scope, receive, send)
            return
        sending = None
        try:
            with contextlib.closing(writer):
                connection = h11.Connection(h11.CLIENT)
                writer.write(connection.send(request_of(scope)) or b"")
                sending = asyncio.create_task(upload(connection, writer, receive))
                async for message in answered(connection, reader):
                    await tell(message)
        except (OSError, h11.RemoteProtocolError):
            if not started:
                await DIED.response()(scope, receive, send)
            elif streams:                                                                 # it is too late for another status
                await send({"type": "http.response.body", "body": event(DIED.body()).encode()})
        finally:
            if sending is not None:
                sending.cancel()


def request_of(scope: Scope) -> h11.Request:
    """The request as it came, and from whom."""
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    headers = [(name, value) for name, value in scope["headers"] if name not in OWN]
    client = scope["client"][0] if scope.get("client") else ""
    return h11.Request(method=scope["method"], target=target, headers=[*headers, (b"x-forwarded-for", client.encode()), (b"connection", b"close")])


async def upload(connection: h11.Connection, writer: asyncio.StreamWriter, receive: Receive) -> None:
    """Pass the body on; when the client has gone, hang up, which is how what is behind learns of it."""
    with contextlib.suppress(OSError, h11.LocalProtocolError):                            # it has answered already, or died: the answer says which
        while (message := await receive())["type"] != "http.disconnect":
            if connection.our_state is not h11.SEND_BODY:
                continue
            data = connection.send(h11.Data(data=message.get("body", b""))) or b""
            if not message.get("more_body", False):
                data += connection.send(h11.EndOfMessage()) or b""
            writer.write(data)
            await writer.drain()
    writer.close()


async def answered(connection: h11.Connection, reader: asyncio.StreamReader) -> AsyncIterator[Message]:
    """The answer as it comes. Raises RemoteProtocolError when it breaks off."""
    while True:
        found = connection.next_event()
        if found is h11.NEED_DATA:
            connection.receive_data(await reader.read(1 << 16))
        elif isinstance(found, h11.Response):
            headers = [(name, value) for name, value in found.headers if name not in OWN | {b"transfer-encoding", b"date"}]
            yield {"type": "http.response.start", "status": found.status_code, "headers": headers}
        elif isinstance(found, h11.Data):
            yield {"type": "http.response.body", "body": bytes(found.data), "more_body": True}
        elif isinstance(found, h11.EndOfMessage):
            yield {"type": "http.response.body", "body": b""}
            return
        elif isinstance(found, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("there is no answer")


def serve_apart(order: Order, listener: socket.socket, show: Callable[[str], None]) -> None:
    """Serve what is ordered with the models in a process of their own, until SIGTERM or Ctrl-C. Raises what the models raise."""
    async def run() -> None:
        apart = Apart(order)
        try:
            await apart.start(show)
        except FthetaError:
            apart.folder.cleanup()
            raise
        show(f"listening on {address(listener)}v1")
        show(f"the page is at {address(listener)}")
        app = Guard(PassOn(apart), order.key, order.hosts, BODY, SLOW, (*OPEN, *assets()))
        await uvicorn.Server(uvicorn.Config(app, lifespan="on", **LISTENING)).serve([listener])

    asyncio.run(run())


def behind() -> None:
    """The process behind: an order comes in as a line, what there is to show goes out in lines; it ends when nobody is before it any more."""
    asked = json.loads(sys.stdin.readline())
    try:
        app = Order.parse(asked["order"]).app(lambda line: print(json.dumps({"show": line}), flush=True))
    except FthetaError as error:
        print(json.dumps({"error": str(error), "usage": isinstance(error, UsageError)}), flush=True)
        return
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(asked["socket"])
        listener.listen(2048)
        print(json.dumps({"listening": True}), flush=True)
        os.dup2(2, 1)                                                                     # nobody listens to what else is said

        def follow() -> None:
            sys.stdin.read()
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=follow, name="ftheta-follow", daemon=True).start()
        uvicorn.Server(uvicorn.Config(app, forwarded_allow_ips="*", **LISTENING)).run([listener])
