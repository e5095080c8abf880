"""How many users a second the HTTP service of `examples/` answers, and how long a request takes.

    python -m benchmarks.http_service --run runs/demo [--clients 32] [--seconds 10] [--k 10]

Starts the service on a free port of this machine, in a process of its own. Each client asks for one user at a time,
drawn from those of the catalogue, over one connection, and asks again once it is answered. The last line is JSON.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from peft_pod.corpus.catalogue import Catalogue

SERVICE = Path(__file__).parents[1] / "examples" / "http_service.py"
PATIENCE = 120.0


def main() -> None:
    """Start the service, ask it, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--run", required=True)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--max-wait-ms", type=float, default=5)
    options = parser.parse_args()
    users = list(Catalogue.load(Path(options.run) / "model").user_ids)
    port = _free_port()
    flags = ["--run", options.run, "--port", str(port), "--max-wait-ms", str(options.max_wait_ms)]
    service = subprocess.Popen([sys.executable, str(SERVICE), *flags])
    try:
        wait_until_healthy(port, service)
        ask_for(port, users, options.k, seconds=1, seed=-1)  # what is only slow the first time
        before = get_health(port)["batch_sizes"]
        began = time.perf_counter()
        with ThreadPoolExecutor(options.clients) as clients:
            times = list(
                clients.map(lambda seed: ask_for(port, users, options.k, options.seconds, seed), range(options.clients))
            )
        took = time.perf_counter() - began
        after = get_health(port)["batch_sizes"]
    finally:
        service.terminate()
        service.wait(PATIENCE)
    milliseconds = 1000 * np.concatenate(times)
    sizes = {size: count - before.get(size, 0) for size, count in after.items() if count > before.get(size, 0)}
    report = {
        "clients": options.clients,
        "k": options.k,
        "users_per_second": round(len(milliseconds) / took, 1),
        "p50_ms": round(float(np.percentile(milliseconds, 50)), 1),
        "p99_ms": round(float(np.percentile(milliseconds, 99)), 1),
        "batch_sizes": sizes,
    }
    print(json.dumps(report))


def ask_for(port: int, users: list[str], k: int, seconds: float, seed: int) -> list[float]:
    """Ask for one user after the other; how many seconds each took."""
    chosen = random.Random(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    times = []
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        body = json.dumps({"users": [{"user": chosen.choice(users)}], "k": k})
        connection.request("POST", "/recommend", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise RuntimeError(f"status {response.status}: {text.decode()}")
        times.append(time.perf_counter() - began)
    connection.close()
    return times


def get_health(port: int) -> dict[str, Any]:
    """What the service says of itself."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", "/health")
    health: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return health


def wait_until_healthy(port: int, service: subprocess.Popen[bytes]) -> None:
    """Wait until the service answers.

    Raises:
        RuntimeError: it ended, or does not answer in two minutes.
    """
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if service.poll() is not None:
            raise RuntimeError(f"the service ended with status {service.returncode}")
        try:
            get_health(port)
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the service does not answer after {PATIENCE:.0f} seconds")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
