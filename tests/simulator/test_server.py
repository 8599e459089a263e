"""The server: connections, disconnects, load, limits and shutdown."""

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

from claude_magic.simulator import Gate, Simulator, _server, hold, slow_headers
from claude_magic.simulator._server import MAX_BODY_BYTES, MAX_HELD_BYTES

CROWD = 200


def test_c1_keep_alive_connections_are_counted(api):
    """Ten requests of one client use one connection."""
    for _ in range(10):
        api.message("2 + 2")

    assert api.sim.connections == 1
    assert {request.connection for request in api.sim.requests} == {1}


def test_requests_are_recorded_with_what_became_of_them(api):
    """The record contains method, path, headers, body and status."""
    api.message("2 + 2")
    api.http.get("/v1/models/none")

    first, second = api.sim.requests
    assert (first.method, first.path, first.status) == ("POST", "/v1/messages", 200)
    assert first.headers["x-api-key"] == "sk-ant-test"
    assert first.body["messages"][0]["content"] == "2 + 2"
    assert first.is_finished
    assert (second.path, second.status, second.body) == ("/v1/models/none", 404, None)


def test_s2_a_client_that_leaves_in_mid_stream_is_noticed(api, until):
    """Its connection is closed, and the record has `client_gone`."""
    gate = Gate()
    api.sim.script(hold(gate))

    with api.http.stream("POST", "/v1/messages", json=api.body(stream=True)):
        pass

    until(lambda: api.sim.requests[-1].client_gone)
    until(lambda: api.sim.open_connections == 0)
    gate.open()
    assert api.message("2 + 2")


def test_only_the_latest_requests_are_kept():
    """The memory of a long-running simulator is bounded."""
    with Simulator(max_recorded=2) as sim:
        for number in range(4):
            httpx2.get(f"{sim.url}/{number}", trust_env=False, verify=False)

        assert [request.path for request in sim.requests] == ["/2", "/3"]


def test_a_crowd_of_streams_is_served_at_once(sim):
    """Each of 200 concurrent streams gets its complete answer."""

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
        async with httpx2.AsyncClient(trust_env=False, verify=False, limits=limits, timeout=60) as client:
            return await asyncio.gather(*(ask(client, number) for number in range(CROWD)))

    assert asyncio.run(crowd()) == [(200, 2)] * CROWD


def test_a_slow_reader_is_waited_for(api):
    """The simulator does not buffer data that the client does not read."""
    headers = {"x-simulator-scenario": "huge_event"}
    with api.http.stream("POST", "/v1/messages", json=api.body(stream=True), headers=headers) as response:
        total = sum(len(piece) for piece in response.iter_raw())

    assert total > 8 * 1024 * 1024


@pytest.mark.parametrize("closer", ["same thread", "another thread"])
def test_closing_ends_open_streams_at_once_and_quietly(closer, until, recwarn):
    """Closing works from any thread, without warnings, and does not wait for a stream that pauses for an hour."""
    sim = Simulator().start()
    sim.script(slow_headers(3600))
    raw = socket.create_connection(("127.0.0.1", sim.port))
    raw.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")
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
    """Another simulator can use it immediately."""
    with Simulator() as sim:
        port = sim.port
        httpx2.get(sim.url, trust_env=False, verify=False)

    with Simulator(port=port) as again:
        assert again.port == port


def test_a_port_in_use_is_a_clear_error(sim):
    """It contains the port and the remedy."""
    with pytest.raises(OSError, match=f"Port {sim.port} on 127.0.0.1 is in use by another program"):
        Simulator(port=sim.port).start()


def test_a_simulator_that_was_not_started_has_no_port():
    """The error explains how to start it."""
    with pytest.raises(RuntimeError, match="with statement"):
        _ = Simulator().url


def test_what_is_no_http_is_refused_without_harm(api):
    """A client with another protocol gets a 400 and a closed connection."""
    with socket.create_connection(("127.0.0.1", api.sim.port)) as raw:
        raw.settimeout(10)
        raw.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert raw.recv(1000).startswith(b"HTTP/1.1 400")

    assert api.message("2 + 2")


def test_requests_in_one_packet_are_answered_in_order(sim):
    """Pipelining works, although clients should not use it."""
    request = b"GET /v1/models/%d HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", sim.port)) as raw:
        raw.settimeout(10)
        raw.sendall(request % 1 + request % 2)
        answer = b""
        while answer.count(b"request_id") < 2:
            answer += raw.recv(4096)

    assert [item.path for item in sim.requests] == ["/v1/models/1", "/v1/models/2"]


def test_a_client_that_waits_for_100_continue_receives_it(sim):
    """curl sends large bodies this way."""
    head = (
        b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", sim.port)) as raw:
        raw.settimeout(10)
        raw.sendall(head)
        assert raw.recv(1000).startswith(b"HTTP/1.1 100")
        raw.sendall(b"{}")
        assert raw.recv(1000).startswith(b"HTTP/1.1 401")


COMMAND = [sys.executable, "-W", "error", "-m", "claude_magic.simulator"]


def test_the_command_serves_until_interrupted_and_ends_quietly():
    """It prints its address. Ctrl-C causes no traceback."""
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
    status = httpx2.get(f"{url}/nothing", trust_env=False, verify=False).status_code

    process.send_signal(signal.CTRL_BREAK_EVENT if os.name == "nt" else signal.SIGINT)
    _, errors = process.communicate(timeout=120)

    assert status == 404
    assert (process.returncode, errors) == (0, "")


def test_the_command_says_so_when_its_port_is_taken(sim):
    """It prints one line without a traceback, and exits with a status other than 0."""
    result = subprocess.run(
        [*COMMAND, "--port", str(sim.port)], capture_output=True, text=True, timeout=20, check=False
    )

    assert result.returncode == 1
    assert result.stderr.startswith(f"claude_magic.simulator: Port {sim.port} on 127.0.0.1 is in use")
    assert len(result.stderr.splitlines()) == 1


def test_the_command_lists_the_scenarios():
    """Each scenario has a description."""
    result = subprocess.run(
        [*COMMAND, "--list-scenarios"], capture_output=True, text=True, timeout=20, check=True
    )

    assert "overloaded_once" in result.stdout
    assert "reset_mid_event" in result.stdout


def test_a_simulator_left_open_does_not_disturb_the_interpreters_end():
    """There is no warning, no message and no hanging thread."""
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


# Neighbours: who may ask, and how much they can make it hold.


def speak(sim, *pieces):
    """Send raw bytes. Return all received bytes until the connection closes."""
    with socket.create_connection(("127.0.0.1", sim.port), timeout=60) as raw:
        with contextlib.suppress(ConnectionError):  # it may close before it has read all
            for piece in pieces:
                raw.sendall(piece)
        received = bytearray()
        with contextlib.suppress(ConnectionError):
            while piece := raw.recv(65536):
                received += piece
        return bytes(received)


def head(host="localhost", target="/v1/models", method="GET", **headers):
    """Return the head of a request with `connection: close`."""
    lines = [f"{method} {target} HTTP/1.1", *([] if host is None else [f"Host: {host}"]), "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += ["x-api-key: k", "anthropic-version: 2023-06-01"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def status_of(response):
    return int(response.split(b" ", 2)[1])


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8765",
        "localhost.",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.3.2.1",
        "[::1]",
        "[::1]:8765",
        "[::ffff:127.0.0.1]",
    ],
)
def test_every_name_of_this_machine_is_served(sim, host):
    """The name may have any port or none, and may be in the target."""
    assert status_of(speak(sim, head(host))) == 200
    assert status_of(speak(sim, head(host, target=f"http://{host}/v1/models"))) == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.evil.example"),
        *(
            "localhost@evil.example",
            "evil.example@127.0.0.1",
            "192.168.0.7",
            "0.0.0.0",
            "[2001:db8::1]",
            "[::]",
        ),
        *("128.0.0.1", "", "127.0.0.1:x"),
    ],
)
@pytest.mark.parametrize("place", ["header", "target"])
def test_a_page_that_lets_a_name_of_its_own_point_here_is_refused(sim, host, place):
    """With DNS rebinding, the browser treats the simulator as the page's own server, but sends the name in `Host`."""
    response = speak(sim, head(host) if place == "header" else head(target=f"http://{host}/v1/models"))

    assert status_of(response) in ((403,) if place == "header" else (400, 403))
    assert b"claude-haiku" not in response


def test_a_target_that_names_this_machine_does_not_excuse_a_foreign_host(sim):
    """Both must name this machine."""
    assert status_of(speak(sim, head("evil.example", target="http://localhost/v1/models"))) == 403


def test_a_request_without_a_host_is_refused(sim):
    """HTTP/1.1 requires a host. An HTTP/1.0 request without one cannot be distinguished from a rebound page."""
    old = head(None).replace(b"HTTP/1.1", b"HTTP/1.0")

    assert status_of(speak(sim, head(None))) == 400
    assert status_of(speak(sim, old)) == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://localhost:8888"}, 200),
        ({"Origin": "https://127.0.0.1"}, 200),
        ({"Origin": "http://[::1]:8888"}, 200),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Sec_Fetch_Site": "none"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "file://"}, 403),
        ({"Origin": "chrome-extension://localhost"}, 403),
        ({"Origin": ""}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_pages_of_other_sites_are_refused(sim, headers, status, method):
    """Browsers send the origin of a request, which a page cannot change. A preflight request fails as well."""
    assert status_of(speak(sim, head(method=method, **headers))) == status


def test_nothing_of_a_foreign_request_is_kept(sim):
    """Its body is not kept even while it is received."""
    body = b"x" * 1_000_000
    speak(sim, head("evil.example", method="POST", target="/v1/messages", Content_Length=len(body)), body)

    assert [(request.status, request.raw_body) for request in sim.requests] == [(403, b"")]


def test_requests_are_kept_up_to_a_number_of_bytes():
    """The latest requests are kept, and all are counted."""
    with Simulator(max_recorded_bytes=50_000) as sim:
        for number in range(5):
            httpx2.post(f"{sim.url}/{number}", content=b"x" * 20_000, trust_env=False, verify=False)

        assert [request.path for request in sim.requests] == ["/3", "/4"]
        assert "5 requests" in repr(sim)
        sim.clear()
        httpx2.post(f"{sim.url}/again", content=b"x" * 20_000, trust_env=False, verify=False)
        assert [request.path for request in sim.requests] == ["/again"]


def test_bodies_that_arrive_at_once_are_bounded_together(sim, until):
    """The body beyond the limit is rejected; earlier ones are read, and then release their memory."""
    most = MAX_HELD_BYTES[False] // MAX_BODY_BYTES
    waiting = []
    with contextlib.ExitStack() as open_ones:
        for _ in range(most):
            raw = open_ones.enter_context(socket.create_connection(("127.0.0.1", sim.port), timeout=60))
            raw.sendall(head(method="POST", Content_Length=MAX_BODY_BYTES) + b"x" * (MAX_BODY_BYTES - 1))
            waiting.append(raw)
        until(lambda: sim._state.held_bytes[False] == most * (MAX_BODY_BYTES - 1))

        refused = speak(sim, head(method="POST", Content_Length=5_000), b"x" * 5_000)

        assert status_of(refused) == 529
        assert sim._state.held_bytes[False] <= MAX_HELD_BYTES[False]
    until(lambda: sim._state.held_bytes[False] == 0)
    assert status_of(speak(sim, head())) == 200


def test_a_body_without_end_is_cut_off(sim):
    """This holds with and without a declared length. An endless body is rejected before its end."""
    declared = speak(sim, head(method="POST", Content_Length=10**12))
    piece = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    chunked = speak(sim, head(method="POST", Transfer_Encoding="chunked"), *[piece] * 200)

    assert status_of(declared) == 413
    assert chunked == b"" or status_of(chunked) == 413
    assert [request.status for request in sim.requests] == [413, 413]
    assert sim._state.held_bytes[False] == 0


@pytest.mark.parametrize("length", ["9" * 40, "-1", "1e9", "0x10"])
def test_a_length_that_is_none_is_refused(sim, length):
    """There is no error in the simulator, and the next request is served."""
    assert status_of(speak(sim, head(method="POST", Content_Length=length))) in (400, 413)
    assert status_of(speak(sim, head())) == 200


def test_a_body_of_very_many_values_is_refused(sim):
    """Each value takes far more memory than its bytes in the body."""
    body = b"[" + b"[]," * 1_000_000 + b"[]]"

    response = speak(sim, head(method="POST", target="/v1/messages", Content_Length=len(body)), body)

    assert status_of(response) == 413
    assert b"1,000,000 values" in response


def test_huge_headers_are_refused(sim):
    """This applies to one long header and to many headers."""
    for headers in ({"X_Long": "x" * 300_000}, {f"X_{n}": "x" * 1_000 for n in range(300)}):
        assert status_of(speak(sim, head(**headers))) == 431


@pytest.mark.parametrize("part", [b"GET /v1/mod", head()[:-4], head(method="POST", Content_Length=10) + b"{"])
def test_a_request_that_never_ends_is_given_up(part):
    """Wherever it stops (first line, headers or body), its connection is closed after a bounded time."""
    with Simulator(read_timeout=0.05) as sim:
        response = speak(sim, part)

        assert status_of(response) == 408
        assert status_of(speak(sim, head())) == 200


def test_what_a_client_says_before_it_has_its_answer_is_bounded(sim, until):
    """Requests can be pipelined, but not without limit while the first is answered."""
    gate = Gate()
    sim.script(hold(gate))
    body = b'{"model": "claude-haiku-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}'
    first = head(
        method="POST", target="/v1/messages", Content_Length=len(body), Content_Type="application/json"
    )
    request = first.replace(b"close", b"keep-alive") + body

    speak(sim, request, *[b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1_000] * 400)

    until(lambda: sim.open_connections == 0)
    gate.open()


def test_connections_are_bounded(sim, monkeypatch, until):
    """The connection beyond the limit is closed; open ones are served."""
    monkeypatch.setattr(_server, "MAX_CONNECTIONS", 2)
    with contextlib.ExitStack() as open_ones:
        for _ in range(2):
            open_ones.enter_context(socket.create_connection(("127.0.0.1", sim.port), timeout=60))
        until(lambda: sim.open_connections == 2)

        assert speak(sim, head()) == b""

    until(lambda: sim.open_connections == 0)
    assert status_of(speak(sim, head())) == 200
