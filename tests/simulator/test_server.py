"""Sockets: connections, departures, crowds, and a quiet end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading

import httpx2
import pytest

from claude_magic.simulator import Gate, Simulator, hold, slow_headers

CROWD = 200


def test_c1_keep_alive_connections_are_counted(api):
    """Ten requests of one client come on one connection."""
    for _ in range(10):
        api.message("2 + 2")

    assert api.sim.connections == 1
    assert {request.connection for request in api.sim.requests} == {1}


def test_requests_are_recorded_with_what_became_of_them(api):
    """Method, path, headers, body and status: the wire is the evidence."""
    api.message("2 + 2")
    api.http.get("/v1/models/none")

    first, second = api.sim.requests
    assert (first.method, first.path, first.status) == ("POST", "/v1/messages", 200)
    assert first.headers["x-api-key"] == "sk-ant-test"
    assert first.body["messages"][0]["content"] == "2 + 2"
    assert first.is_finished
    assert (second.path, second.status, second.body) == ("/v1/models/none", 404, None)


def test_s2_a_client_that_leaves_in_mid_stream_is_noticed(api, until):
    """Its connection is closed, and the record says who left."""
    gate = Gate()
    api.sim.script(hold(gate))

    with api.http.stream("POST", "/v1/messages", json=api.body(stream=True)):
        pass

    until(lambda: api.sim.requests[-1].client_gone)
    until(lambda: api.sim.open_connections == 0)
    gate.open()
    assert api.message("2 + 2")


def test_only_the_latest_requests_are_kept():
    """A simulator that serves for days does not grow."""
    with Simulator(max_recorded=2) as sim:
        for number in range(4):
            httpx2.get(f"{sim.url}/{number}", trust_env=False)

        assert [request.path for request in sim.requests] == ["/2", "/3"]


def test_a_crowd_of_streams_is_served_at_once(sim):
    """Each of 200 concurrent streams gets its own whole answer."""

    async def ask(client, number):
        body = {
            "model": "claude-haiku-5-5",
            "max_tokens": 1000,
            "stream": True,
            "messages": [{"role": "user", "content": f"say exactly: number {number}."}],
        }
        headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
        response = await client.post(f"{sim.url}/v1/messages", json=body, headers=headers)
        return response.status_code, response.text.count("message_stop")

    async def crowd():
        limits = httpx2.Limits(max_connections=CROWD)
        async with httpx2.AsyncClient(trust_env=False, limits=limits, timeout=60) as client:
            return await asyncio.gather(*(ask(client, number) for number in range(CROWD)))

    assert asyncio.run(crowd()) == [(200, 2)] * CROWD


def test_a_slow_reader_is_waited_for(api):
    """The simulator does not pile up what nobody reads."""
    headers = {"x-simulator-scenario": "huge_event"}
    with api.http.stream("POST", "/v1/messages", json=api.body(stream=True), headers=headers) as response:
        total = sum(len(piece) for piece in response.iter_raw())

    assert total > 8 * 1024 * 1024


@pytest.mark.parametrize("closer", ["same thread", "another thread"])
def test_closing_ends_open_streams_at_once_and_quietly(closer, until, recwarn):
    """From any thread, without waiting for an hour's silence and without a warning."""
    sim = Simulator().start()
    sim.script(slow_headers(3600))
    raw = socket.create_connection(("127.0.0.1", sim.port))
    raw.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
    until(lambda: bool(sim.requests))

    if closer == "same thread":
        sim.close()
    else:
        thread = threading.Thread(target=sim.close)
        thread.start()
        thread.join(10)

    raw.settimeout(10)
    with raw, contextlib.suppress(ConnectionResetError):
        assert raw.recv(1) == b""
    sim.close()
    assert not sim.requests[0].client_gone
    assert list(recwarn) == []


def test_a_closed_port_is_free_again():
    """The next simulator can have it at once."""
    with Simulator() as sim:
        port = sim.port
        httpx2.get(sim.url, trust_env=False)

    with Simulator(port=port) as again:
        assert again.port == port


def test_a_port_in_use_is_a_clear_error(sim):
    """It names the port and says what to do."""
    with pytest.raises(OSError, match=f"Port {sim.port} on 127.0.0.1 is in use by another program"):
        Simulator(port=sim.port).start()


def test_a_simulator_that_was_not_started_has_no_port():
    """The error says how to start it."""
    with pytest.raises(RuntimeError, match="with statement"):
        _ = Simulator().url


def test_what_is_no_http_is_refused_without_harm(api):
    """A client that speaks something else gets a 400 and a closed connection."""
    with socket.create_connection(("127.0.0.1", api.sim.port)) as raw:
        raw.settimeout(10)
        raw.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert raw.recv(1000).startswith(b"HTTP/1.1 400")

    assert api.message("2 + 2")


def test_requests_in_one_packet_are_answered_in_order(sim):
    """Pipelining, though nobody should, works."""
    request = b"GET /v1/models/%d HTTP/1.1\r\nhost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", sim.port)) as raw:
        raw.settimeout(10)
        raw.sendall(request % 1 + request % 2)
        answer = b""
        while answer.count(b"request_id") < 2:
            answer += raw.recv(4096)

    assert [item.path for item in sim.requests] == ["/v1/models/1", "/v1/models/2"]


def test_a_client_that_waits_for_100_continue_is_told_to_go_on(sim):
    """As curl does with large bodies."""
    head = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    with socket.create_connection(("127.0.0.1", sim.port)) as raw:
        raw.settimeout(10)
        raw.sendall(head)
        assert raw.recv(1000).startswith(b"HTTP/1.1 100")
        raw.sendall(b"{}")
        assert raw.recv(1000).startswith(b"HTTP/1.1 401")


COMMAND = [sys.executable, "-W", "error", "-m", "claude_magic.simulator"]


def test_the_command_serves_until_interrupted_and_ends_quietly():
    """It prints where it is; Ctrl-C is no traceback."""
    flags = subprocess.CREATE_NEW_PROCESS_GROUP if os.name == "nt" else 0
    process = subprocess.Popen(
        [*COMMAND, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        creationflags=flags,
    )
    line = process.stdout.readline()
    url = line.split()[-1]
    status = httpx2.get(f"{url}/nothing", trust_env=False).status_code

    process.send_signal(signal.CTRL_BREAK_EVENT if os.name == "nt" else signal.SIGINT)
    _, errors = process.communicate(timeout=20)

    assert status == 404
    assert (process.returncode, errors) == (0, "")


def test_the_command_says_so_when_its_port_is_taken(sim):
    """One line, no traceback, and a status that scripts can see."""
    result = subprocess.run(
        [*COMMAND, "--port", str(sim.port)], capture_output=True, text=True, timeout=20, check=False
    )

    assert result.returncode == 1
    assert result.stderr.startswith(f"claude_magic.simulator: Port {sim.port} on 127.0.0.1 is in use")
    assert len(result.stderr.splitlines()) == 1


def test_the_command_lists_the_scenarios():
    """Each with its description."""
    result = subprocess.run(
        [*COMMAND, "--list-scenarios"], capture_output=True, text=True, timeout=20, check=True
    )

    assert "overloaded_once" in result.stdout
    assert "reset_mid_event" in result.stdout


def test_a_simulator_left_open_does_not_disturb_the_interpreters_end():
    """No warning, no message, no hanging thread."""
    code = (
        "from claude_magic.simulator import Simulator; import urllib.request, urllib.error\n"
        "sim = Simulator().start()\n"
        "try: urllib.request.urlopen(sim.url)\n"
        "except urllib.error.HTTPError as error: error.close()\n"
    )
    result = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    assert result.stderr == ""
