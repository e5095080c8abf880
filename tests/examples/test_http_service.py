"""Real requests over loopback, against the service in a process of its own."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from benchmarks.http_service import wait_until_healthy

from peft_pod.generation import Recommender

from ..commands.runs import small, train
from ..training.launching import ROOT, environment, free_port


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "run"
    done = train(small(), folder)
    assert done.status == 0, done.err
    port = free_port()
    command = [sys.executable, ROOT / "examples" / "http_service.py", "--run", folder, "--port", port]
    limits = ["--max-wait-ms", 30, "--max-waiting", 32]
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
    refused = [
        ("/recommend", {"users": [one], "k": 101}),
        ("/recommend", {"users": [one] * 65}),
        ("/recommend", {"users": [{**one, "history": ["x"] * 501}]}),
        ("/recommend", {"users": [{**one, "history": ["nothing"]}]}),
        ("/recommend", {"users": [one], "kk": 3}),
        ("/recommend", {"users": [{**one, "history": list(recommender.catalogue.item_ids)}]}),
        ("/rank", {"users": [{**one, "candidates": ["x"] * 201}]}),
        ("/rank", {"users": [{**one, "candidates": [recommender.catalogue.item_ids[0]] * 2}]}),
    ]
    assert [ask(port, *request)[0] for request in refused] == [422] * len(refused)
    # More users than may wait.
    status, answer = ask(port, "/recommend", {"users": [one] * 33})
    assert (status, answer["detail"]) == (503, "0 questions wait already; try again later")
    schemas = ask(port, "/openapi.json")[1]["components"]["schemas"]
    assert schemas["RecommendRequest"]["properties"]["users"]["maxItems"] == 64
    assert schemas["RecommendRequest"]["properties"]["k"]["maximum"] == 100
    assert schemas["RankQuestion"]["properties"]["candidates"]["maxItems"] == 200
    assert schemas["UserQuestion"]["properties"]["history"]["anyOf"][0]["maxItems"] == 500
