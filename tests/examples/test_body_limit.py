from __future__ import annotations

import asyncio
import json

import pytest

from ..training.launching import ROOT


@pytest.fixture
def limited(monkeypatch):
    """An application that keeps what it is given, behind a limit of ten bytes."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    from body_limit import BodyLimit

    given = []

    async def app(scope, receive, send):
        given.append(await receive() if scope["type"] == "http" else scope["type"])
        await send({"type": "done"})

    return BodyLimit(app, 10), given


def ask(app, messages, headers=(), kind="http"):
    """What an application sends, and how many messages it left unread."""
    sent, waiting = [], list(messages)

    async def receive():
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(app({"type": kind, "headers": list(headers)}, receive, send))
    return sent, len(waiting)


def part(body, more=True):
    return {"type": "http.request", "body": body, "more_body": more}


def test_pieces_are_handed_on_as_one(limited):
    app, given = limited
    assert ask(app, [part(b"01234"), part(b""), part(b"56789", more=False)]) == ([{"type": "done"}], 0)
    assert ask(app, [{"type": "http.request"}])[0] == [{"type": "done"}]  # no body
    assert [message["body"] for message in given] == [b"0123456789", b""]


def test_too_long_by_count_and_by_what_the_client_says(limited):
    app, given = limited
    sent, unread = ask(app, [part(b"012345"), part(b"67890"), part(b"more")])
    assert unread == 1
    assert (sent[0]["status"], dict(sent[0]["headers"])[b"connection"]) == (413, b"close")
    assert json.loads(sent[1]["body"])["detail"].startswith("the body has 11 bytes or more, and at most 10 are read")
    sent, unread = ask(app, [part(b"0")], [(b"content-length", b"11")])
    assert (unread, sent[0]["status"]) == (1, 413)
    assert ask(app, [part(b"0", more=False)], [(b"content-length", b"10")])[0] == [{"type": "done"}]
    assert len(given) == 1


def test_the_client_goes_and_what_is_no_request(limited):
    app, given = limited
    ask(app, [part(b"0"), {"type": "http.disconnect"}])
    ask(app, [], kind="lifespan")
    assert given == [{"type": "http.disconnect"}, "lifespan"]


def test_bad_limit(limited):
    with pytest.raises(ValueError, match="max_bytes must be at least 1, got 0"):
        type(limited[0])(None, 0)
