"""Refuses requests whose bodies are too large, before they are read to the end; for `http_service.py`."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class BodyLimit:
    """An ASGI application that hands on requests with a body of at most so many bytes, and answers others with 413.

    A length that the client gives is believed, so that nothing of such a body is read. Where it gives none, as with
    chunked transfer, what comes is counted, and no more is read once it is too much. The connection is closed then:
    what else the client sends could not be told from its next request.

    Args:
        app: answers the requests that are handed on.
        max_bytes: the most bytes of a body.

    Raises:
        ValueError: `max_bytes` is not positive.
    """

    def __init__(self, app: App, max_bytes: int) -> None:
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, got {max_bytes}")
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Hand a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"content-length", b"")
        if given.isdigit() and int(given) > self.max_bytes:
            await self._refuse(send, f"the body has {int(given)} bytes")
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self.max_bytes:
                await self._refuse(send, f"the body has {len(body)} bytes or more")
                return
            more = message.get("more_body", False)
        # In one piece, or the news that the client has gone.
        first: list[Message] = [message if message["type"] != "http.request" else {**message, "body": bytes(body)}]

        async def replay() -> Message:
            return first.pop() if first else await receive()

        await self.app(scope, replay, send)

    async def _refuse(self, send: Send, what: str) -> None:
        detail = f"{what}, and at most {self.max_bytes} are read: ask for fewer users at once"
        body = json.dumps({"detail": detail}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})
