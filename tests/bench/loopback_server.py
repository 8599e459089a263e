"""A loopback server that returns canned bytes from a process of its own, so that its work is not measured.

The first part of the path selects the response, so that a client only needs a base URL:

- `/burst/N`: a stream of N deltas, in pieces of 64 KiB: many events per read
- `/paced/N`: a stream of N deltas, each in a TCP write of its own, a millisecond apart
- `/first/0`: headers and the events up to the first delta in one TCP write; the text of the delta is the time of the write
- `/small`: a short reply that is not streamed
- `/label`: like `/small`, with a JSON object as its text
"""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"request-id: req_011CSHoEeqs5C35K2UUqR7Fy\r\ntransfer-encoding: chunked\r\n\r\n"
)
PIECE_BYTES = 64 * 1024
PACE = 0.001

_MESSAGE = {
    "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5-5",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {
        "input_tokens": 25,
        "output_tokens": 1,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    },
}
_WORDS = (" the", " river", " carries", " silt,", " and", " leaves", " it", " where", " it", " slows.\n")


def encode_event(event: dict[str, object]) -> bytes:
    """Return an event in the encoding of the API."""
    return f"event: {event['type']}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n".encode()


@functools.cache
def stream_of(deltas: int) -> list[bytes]:
    """Return the encoded events of a reply with `deltas` deltas."""
    opening = [
        {"type": "message_start", "message": _MESSAGE},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ]
    text = [
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": _WORDS[n % len(_WORDS)]},
        }
        for n in range(deltas)
    ]
    ending = [
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": deltas},
        },
        {"type": "message_stop"},
    ]
    return [encode_event(event) for event in (*opening, *text, *ending)]


def _small_reply(text: str) -> bytes:
    content = [{"type": "text", "text": text}]
    body = json.dumps({**_MESSAGE, "content": content, "stop_reason": "end_turn"}).encode()
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_011CSHoEeqs5C35K2UUqR7Fy\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )


def _framed(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def _serve_first_delta(connection: socket.socket) -> None:
    start, block, _, *ending = stream_of(1)
    before = _STREAM_HEAD + _framed(start) + _framed(block)
    moment = str(time.monotonic_ns())
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": moment}}
    connection.sendall(before + _framed(encode_event(delta)))
    time.sleep(PACE)
    connection.sendall(b"".join(map(_framed, ending)) + b"0\r\n\r\n")


def _serve_stream(connection: socket.socket, kind: str, deltas: int) -> None:
    connection.sendall(_STREAM_HEAD)
    if kind == "burst":
        whole = b"".join(stream_of(deltas))
        for start in range(0, len(whole), PIECE_BYTES):
            connection.sendall(_framed(whole[start : start + PIECE_BYTES]))
    else:
        for event in stream_of(deltas):
            time.sleep(PACE)
            connection.sendall(_framed(event))
    connection.sendall(b"0\r\n\r\n")


def _read_request(connection: socket.socket, buffer: bytearray) -> str | None:
    """Read one request from a connection and return its path; None if the client has disconnected."""
    while (end := buffer.find(b"\r\n\r\n")) < 0:
        if not (piece := connection.recv(65536)):
            return None
        buffer += piece
    head = bytes(buffer[:end]).decode("latin-1")
    lengths = [
        line.partition(":")[2] for line in head.lower().split("\r\n") if line.startswith("content-length")
    ]
    total = end + 4 + int(lengths[0] if lengths else 0)
    while len(buffer) < total:
        buffer += connection.recv(65536)
    del buffer[:total]
    return head.split(" ", 2)[1]


def _serve(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = bytearray()
    small = {
        "small": _small_reply("It leaves its silt where it slows."),
        "label": _small_reply('{"label": "silt"}'),
    }
    with connection, contextlib.suppress(ConnectionError):
        while (path := _read_request(connection, buffer)) is not None:
            _, kind, size, *_ = path.split("/")
            if kind in small:
                connection.sendall(small[kind])
            elif kind == "first":
                _serve_first_delta(connection)
            else:
                _serve_stream(connection, kind, int(size))


@contextlib.contextmanager
def loopback_server() -> Iterator[str]:
    """Run the server for the duration of the block and yield its URL."""
    process = subprocess.Popen([sys.executable, Path(__file__)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def main() -> None:
    """Print the URL, then serve until terminated."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
