"""Known limits apply to one server and account."""

from __future__ import annotations

from claude_magic.client import ClientConfig, Credential, MessageRequest, ServerPace
from claude_magic.client._server_limits import Need
from claude_magic.runtime._bridge import KnownPace
from claude_magic.runtime._connection import Connection


def connection(url: str = "http://127.0.0.1:1", key: str = "sk-ant-test-1", **config: float) -> Connection:
    return Connection(config=ClientConfig(base_url=url, **config), credential=Credential(api_key=key))


def learn(pace: ServerPace) -> None:
    request = MessageRequest(model="m", max_tokens=1, messages=[])
    ticket = pace.ticket(Need(request), lambda _: None)
    ticket.enter()
    ticket.update_from_headers({"anthropic-ratelimit-requests-limit": "60"}, is_429=False)
    ticket.finish(None)


def test_a_client_that_is_exchanged_goes_on_with_what_is_known() -> None:
    """Another timeout makes another client, not another server."""
    known = KnownPace()

    first = known.for_connection(connection())

    assert known.for_connection(connection(timeout=5)) is first


def test_another_server_and_another_key_have_limits_of_their_own() -> None:
    """Limits of one do not apply to the other."""
    known = KnownPace()
    first = known.for_connection(connection())
    learn(first)

    other_key = known.for_connection(connection(key="sk-ant-test-2"))
    assert other_key is not first
    assert known.state == ()
    assert known.for_connection(connection("http://127.0.0.1:2", key="sk-ant-test-2")) is not other_key


def test_what_is_known_is_handed_on_for_the_same_server_only() -> None:
    """After `%reload_ext`; the dump contains no credential."""
    known = KnownPace()
    learn(known.for_connection(connection()))
    record = known.dump()

    same, other = KnownPace(record), KnownPace(record)
    same.for_connection(connection())
    other.for_connection(connection("http://127.0.0.1:2"))

    assert [limit.per_minute for limit in same.state[0].limits] == [60]
    assert other.state == ()
    assert "sk-ant" not in repr(record)


def test_a_runtime_that_asked_nothing_hands_on_what_it_was_given() -> None:
    """Two reloads in a row."""
    known = KnownPace()
    learn(known.for_connection(connection()))
    record = known.dump()

    assert KnownPace(record).dump() == record
    assert KnownPace(KnownPace().dump()).holds_for(connection())
