from __future__ import annotations

import os
import signal
import threading

import pytest

from peft_pod.signals import TERMINATED, StopRequest, exiting_on_sigterm


def send(number):
    os.kill(os.getpid(), number)


def handlers():
    return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


def test_a_request_is_remembered_said_and_obeyed(capfd):
    before = handlers()
    with StopRequest("stops soon") as request:
        assert request.signal is None
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        assert request.signal == signal.SIGTERM
    assert handlers() == before
    assert capfd.readouterr().err == "SIGTERM: stops soon\n"
    with pytest.raises(SystemExit) as caught:
        request.obey()
    assert caught.value.code == TERMINATED == 143


def test_ctrl_c_is_remembered_once():
    with StopRequest() as request:
        send(signal.SIGINT)
        assert request.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        # A scheduler that follows has the last word on the exit status.
        send(signal.SIGTERM)
        assert request.signal == signal.SIGTERM


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as request:
            send(signal.SIGINT)
        assert request.signal is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_threads_other_than_the_main_one_leave_the_handlers_alone():
    before = handlers()
    seen = []

    def work():
        with StopRequest(), exiting_on_sigterm():
            seen.append(handlers())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_leaving_at_once():
    before = handlers()
    removed = []
    with pytest.raises(SystemExit) as caught, exiting_on_sigterm():  # noqa: PT012
        try:
            send(signal.SIGTERM)
        finally:
            removed.append("what was half written")
    assert caught.value.code == 143
    assert removed
    assert handlers() == before
