"""Real requests over loopback, against the service in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from benchmarks.http_service import wait_until_healthy
from peft_pod.generation import Recommender

from ..commands.runs import small, train
from ..training.launching import ROOT, environment, free_port

MAX_BODY = 100_000


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "run"
    done = train(small(), folder)
    assert done.status == 0, done.err
    port = free_port()
    command = [sys.executable, ROOT / "examples" / "http_service.py", "--run", folder, "--port", port]
    limits = ["--max-wait-ms", 30, "--max-waiting", 64, "--max-body-bytes", MAX_BODY]
    process = subprocess.Popen([*map(str, command + limits)], env=environment())
    try:
        wait_until_healthy(port, process)
        yield port, Recommender.from_pretrained(folder / "model")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()


def ask(port, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    text = None if body is None else json.dumps(body)
    connection.request("GET" if body is None else "POST", path, text, {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def same(found, expected):
    assert [item["item_id"] for item in found] == [item.item_id for item in expected]
    assert [item["score"] for item in found] == pytest.approx([item.score for item in expected], abs=1e-4)


def test_concurrent_clients_get_their_own_answers_and_errors(served):
    port, recommender = served
    users = list(recommender.catalogue.user_ids[:23])
    bodies = [{"users": [{"user": user}], "k": 4} for user in [*users, "nobody"]]
    with ThreadPoolExecutor(24) as clients:
        *found, unknown = clients.map(lambda body: ask(port, "/recommend", body), bodies)
    for (status, answer), expected in zip(found, recommender.recommend(users, k=4), strict=True):
        assert status == 200
        same(answer["results"][0], expected)
    assert unknown[0] == 404
    assert unknown[1]["detail"].startswith("user 'nobody' is not among the 40 users")
    status, health = ask(port, "/health")
    assert (status, health["status"]) == (200, "ok")
    assert max(map(int, health["batch_sizes"])) > 1


def test_rank_and_explain(served):
    port, recommender = served
    user, items = recommender.catalogue.user_ids[2], list(recommender.catalogue.item_ids[:5])
    status, answer = ask(port, "/rank", {"users": [{"user": user, "candidates": items}]})
    assert status == 200, answer
    same(answer["results"][0], recommender.rank(user, items))
    taken = list(recommender.catalogue.item_ids[7:9])
    status, answer = ask(port, "/rank", {"users": [{"user": user, "candidates": items, "history": taken}], "k": 2})
    assert status == 200, answer
    same(answer["results"][0], recommender.rank(user, items, taken, k=2))
    status, answer = ask(port, "/explain", {"pairs": [{"user": user, "item": items[0]}]})
    assert (status, answer) == (200, {"results": [recommender.explain(user, items[0])]})


def test_limits_refuse_and_stand_in_the_schema(served):
    port, recommender = served
    one = {"user": recommender.catalogue.user_ids[0]}
    limits = [
        ("/recommend", {"users": [one], "k": 101}),
        ("/recommend", {"users": [one] * 65}),
        ("/recommend", {"users": []}),
        ("/recommend", {"users": [{"user": "x" * 201}]}),
        ("/recommend", {"users": [{**one, "history": ["x"] * 501}]}),
        ("/recommend", {"users": [{**one, "history": ["x" * 201]}]}),
        ("/rank", {"users": [{**one, "candidates": ["x"] * 201}]}),
        ("/rank", {"users": [{**one, "candidates": []}]}),
        ("/rank", {"users": [{**one, "candidates": ["x"]}] * 65}),
        ("/explain", {"pairs": [{**one, "item": "x"}] * 65}),
    ]
    for status, answer in (ask(port, *request) for request in limits):
        assert status == 422
        assert re.fullmatch("(string_)?too_(long|short)|less_than_equal", answer["detail"][0]["type"])
    others = [
        ("/recommend", {"users": [{**one, "history": ["nothing"]}]}),
        ("/recommend", {"users": [one], "kk": 3}),
        ("/recommend", {"users": [{**one, "history": list(recommender.catalogue.item_ids)}]}),
        ("/rank", {"users": [{**one, "candidates": [recommender.catalogue.item_ids[0]] * 2}]}),
    ]
    assert [ask(port, *request)[0] for request in others] == [422] * len(others)
    # As many users as a request may have are never too many to wait.
    status, answer = ask(port, "/recommend", {"users": [one] * 64, "k": 1})
    assert (status, len(answer["results"])) == (200, 64)
    schemas = ask(port, "/openapi.json")[1]["components"]["schemas"]
    assert schemas["RecommendRequest"]["properties"]["users"]["maxItems"] == 64
    assert schemas["RecommendRequest"]["properties"]["k"]["maximum"] == 100
    assert schemas["RankQuestion"]["properties"]["candidates"]["maxItems"] == 200
    assert schemas["UserQuestion"]["properties"]["history"]["anyOf"][0]["maxItems"] == 500
    assert "at most 100000 bytes" in ask(port, "/openapi.json")[1]["info"]["description"]


def post(port, body, headers=()):
    """The answer to a body sent by its length, or in chunks where it is an iterator; and its headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.suppress(ConnectionError):  # the service may have answered before all is sent
        connection.request("POST", "/recommend", body, {"Content-Type": "application/json", **dict(headers)})
    response = connection.getresponse()
    return response.status, json.loads(response.read()), response.headers


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b'{"users": [{"user": "USER"}], "k": NaN}', ["body", "k"]),
        (b'{"users": [{"user": "USER"}], "k": -Infinity}', ["body", "k"]),
        (b'{"users": [{"user": "USER", "history": [NaN]}]}', ["body", "users", 0, "history", 0]),
        (b'{"users": [{"user": "\\ud800"}]}', ["body", "users", 0, "user"]),
        (b'{"users": [{"user": "USER"}], "\\ud800": 1}', ["body"]),
        (b"NaN", ["body"]),
    ],
)
def test_what_is_no_json_to_send_back_is_refused_as_any_other(served, body, fault):
    port, recommender = served
    status, answer, _ = post(port, body.replace(b"USER", recommender.catalogue.user_ids[0].encode()))
    assert status == 422
    assert [found["loc"] for found in answer["detail"]] == [fault]
    assert set(answer["detail"][0]) == {"type", "loc", "msg"}  # as the schema has it


@pytest.fixture
def http_service(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import http_service

    return http_service


def test_a_request_that_may_never_wait_is_no_setting(http_service, monkeypatch, capsys):
    message = "max_waiting must be at least 64, since a request may have so many users, got 63"
    with pytest.raises(ValueError, match=message):
        http_service.Service(SimpleNamespace(settings=SimpleNamespace(batch_size=32)), max_waiting=63)
    monkeypatch.setattr(sys, "argv", ["http_service.py", "--run", "nowhere", "--max-waiting", "63"])
    with pytest.raises(SystemExit):
        http_service.main()
    assert f"error: --max-waiting: {message}" in capsys.readouterr().err


def test_more_users_than_may_wait(http_service):
    """The model is at work on 32, and 32 wait."""
    release = threading.Event()

    def recommend(users, *rest, **named):
        release.wait(30)
        return [[] for _ in users]

    service = http_service.Service(
        SimpleNamespace(
            settings=SimpleNamespace(batch_size=32),
            processor=SimpleNamespace(task_names=["sequential"], indexing=SimpleNamespace(user_words=[])),
            catalogue=SimpleNamespace(user_position=lambda user: 0, history=lambda user: [0]),
            recommend=recommend,
        ),
        max_waiting=64,
    )
    app = http_service.make_app(service)

    async def asked(num_users):
        body = json.dumps({"users": [{"user": "ann"}] * num_users}).encode()
        sent = []

        async def receive():
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message):
            sent.append(message)

        headers = [(b"content-type", b"application/json")]
        request = {"type": "http", "method": "POST", "path": "/recommend", "query_string": b"", "headers": headers}
        await app(request, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"]), json.loads(sent[1]["body"])

    async def main():
        async with service.batcher:
            first = asyncio.create_task(asked(64))
            while service.batcher.waiting != 32:
                await asyncio.sleep(0.01)
            full, fits = await asked(33), asyncio.create_task(asked(32))
            await asyncio.sleep(0.05)
            release.set()
            return full, await first, await fits

    full, first, fits = asyncio.run(asyncio.wait_for(main(), 60))
    assert (full[0], full[1][b"retry-after"]) == (503, b"1")
    assert full[2] == {"detail": "32 questions wait already; try again later"}
    assert [(status, len(answer["results"])) for status, _, answer in (first, fits)] == [(200, 64), (200, 32)]


def test_a_body_may_be_as_long_as_the_limit(served):
    port, recommender = served
    user = recommender.catalogue.user_ids[0]
    text = json.dumps({"users": [{"user": user}], "k": 3}).encode()
    text += b" " * (MAX_BODY - len(text))
    for body in (text, (text[start : start + 999] for start in range(0, MAX_BODY, 999))):
        status, answer, _ = post(port, body)
        assert status == 200
        same(answer["results"][0], recommender.recommend(user, k=3))


def test_a_longer_body_is_refused(served):
    port, _ = served
    status, answer, headers = post(port, b" " * (MAX_BODY + 1))
    detail = "the body has 100001 bytes, and at most 100000 are read: ask for fewer users at once"
    assert (status, answer, headers["Connection"]) == (413, {"detail": detail}, "close")
    status, answer, headers = post(port, (b" " * 1000 for _ in range(101)))
    assert (status, headers["Connection"]) == (413, "close")
    assert re.fullmatch(r"the body has 10\d{4} bytes or more, and at most 100000 are read: .*", answer["detail"])
    assert ask(port, "/health")[0] == 200


@pytest.mark.parametrize("length", ["Content-Length: 1000000000", "Transfer-Encoding: chunked"])
def test_no_more_is_read_than_the_limit(served, length):
    """A gigabyte is announced, or never ends: the service answers, and hangs up long before it has come."""
    port, _ = served
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(f"POST /recommend HTTP/1.1\r\nHost: here\r\n{length}\r\n\r\n".encode())
        piece = b" " * 2**16
        if "chunked" in length:
            piece = b"%x\r\n%s\r\n" % (len(piece), piece)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 1_000_000_000:
                client.sendall(piece)
                sent += len(piece)
        # What the machine holds between the two has no part in what the service reads.
        assert sent < 50_000_000
        answer = b""
        with contextlib.suppress(ConnectionError):
            while more := client.recv(2**16):
                answer += more
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"at most 100000 are read" in answer
    assert ask(port, "/health")[0] == 200
