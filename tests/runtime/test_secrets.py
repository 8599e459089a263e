"""O2: the key is in no state, output, log record or error of the runtime."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import pickle
import traceback
from collections.abc import Callable, Iterable

import pytest

from claude_magic.client import ClaudeError
from claude_magic.runtime import Reply, Runtime
from claude_magic.simulator import Simulator, reply, reset_mid_stream, status

KEY = "sk-ant-secret-0123456789abcdef"
TIMEOUT = 120.0
MAX_THINGS = 200_000


@pytest.fixture
def used_runtime(make_runtime: Callable[..., Runtime], sim: Simulator) -> Runtime:
    """A used runtime: with answers, rejections that quote the key, and broken streams."""
    runtime = make_runtime(
        ANTHROPIC_BASE_URL=sim.url, CLAUDE_MAGIC_MAX_RETRIES="1", CLAUDE_MAGIC_INITIAL_BACKOFF="0.001"
    )
    runtime.login(KEY)
    return runtime


def outcomes(runtime: Runtime, sim: Simulator) -> list[Reply]:
    """An answer, a refusal and failures that quote the key, and a broken stream."""
    quoting = status(401, message=f"invalid x-api-key: {KEY}")
    sim.script(reply("fine"), quoting, status(500, message=KEY), status(500, message=KEY), reset_mid_stream())
    replies = []
    for _ in range(4):
        replies.append(runtime.start("Hello"))
        with contextlib.suppress(ClaudeError):
            replies[-1].result(TIMEOUT)
    return replies


def reachable(root: object) -> Iterable[object]:
    """Yield all objects reachable through attributes, containers, tracebacks and frames."""
    seen: set[int] = set()
    queue = [root]
    while queue and len(seen) < MAX_THINGS:
        thing = queue.pop()
        if (
            id(thing) in seen
            or isinstance(thing, type)
            or (type(thing).__module__ in ("builtins", "types") and callable(thing))
        ):
            continue
        seen.add(id(thing))
        yield thing
        queue += _parts(thing)


def _parts(thing: object) -> list[object]:
    if isinstance(thing, str | bytes | int | float):
        return []
    if isinstance(thing, dict):
        return [*thing.keys(), *thing.values()]
    if isinstance(thing, list | tuple | set | frozenset):
        return list(thing)
    parts = list(getattr(thing, "__dict__", {}).values())
    if type(thing).__module__.startswith("claude_magic") and type(thing).__name__ != "Credential":
        parts += [getattr(thing, name, None) for name in getattr(type(thing), "__slots__", ())]
    if isinstance(thing, BaseException):
        parts += [thing.args, thing.__cause__, thing.__context__]
    return parts


def test_o2_no_log_record_holds_the_key(
    used_runtime: Runtime, sim: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even at DEBUG, from claude_magic or from the HTTP library."""
    caplog.set_level(logging.DEBUG)

    outcomes(used_runtime, sim)
    used_runtime.close()

    text = "\n".join(f"{record.getMessage()} {vars(record)!r}" for record in caplog.records)
    assert len(caplog.records) > 10
    assert KEY not in text


def test_o2_no_repr_status_error_or_traceback_holds_the_key(used_runtime: Runtime, sim: Simulator) -> None:
    """Also if a server quotes it in its error."""
    replies = outcomes(used_runtime, sim)
    errors = [each.error for each in replies if each.error is not None]

    assert len(errors) >= 2
    printed = [repr(used_runtime), repr(used_runtime.status()), repr(used_runtime.settings())]
    printed += [f"{each!r} {each.snapshot()!r}" for each in replies]
    printed += ["".join(traceback.format_exception(error)) + repr(vars(error)) for error in errors]
    assert not [text for text in printed if KEY in text]
    assert any("[REDACTED]" in text for text in printed)


def test_o2_no_field_that_can_be_walked_to_holds_the_key_but_the_credential_itself(
    used_runtime: Runtime, sim: Simulator
) -> None:
    """`vars()` of runtime, client, replies and errors do not contain it; only the credential and the sending code
    do."""
    replies = outcomes(used_runtime, sim)

    things = list(reachable([used_runtime, replies]))

    assert len(things) > 300
    texts = [
        thing for thing in things if isinstance(thing, str | bytes) and type(thing).__name__ != "SecretHeader"
    ]
    assert not [text for text in texts if KEY in (text if isinstance(text, str) else text.decode("latin-1"))]


def test_o2_a_settings_object_says_where_a_value_is_from_and_hides_headers(
    make_runtime: Callable[..., Runtime], sim: Simulator
) -> None:
    """Headers and the path of base_url may contain a gateway's secret, so status does not show it."""
    runtime = make_runtime(
        ANTHROPIC_BASE_URL=f"{sim.url}/gw/sk-ant-hunter2-hunter2",
        ANTHROPIC_CUSTOM_HEADERS="X-Gateway-Key: hunter2-hunter2",
    )
    runtime.login(KEY)

    status = runtime.status()

    rows = {row.name: (row.value, row.source) for row in status.settings}
    assert rows["api_key"] == ("[REDACTED]", "%claude login")
    assert rows["headers"] == ("X-Gateway-Key: [REDACTED]", "environment (ANTHROPIC_CUSTOM_HEADERS)")
    assert rows["base_url"] == (f"{sim.url}/gw/[REDACTED]", "environment (ANTHROPIC_BASE_URL)")
    assert rows["model"] == ("claude-sonnet-5-5", "default")
    assert status.base_url == f"{sim.url}/gw/[REDACTED]"
    assert runtime.redact("The header is hunter2-hunter2.") == "The header is [REDACTED]."
    assert "hunter2" not in repr(status) + repr(runtime.settings())
    assert "hunter2" not in str(dataclasses.asdict(status))


def test_o2_the_credential_of_a_runtime_cannot_be_pickled(used_runtime: Runtime) -> None:
    """Whatever stores a kernel's variables stores no key."""
    with pytest.raises(TypeError):
        pickle.dumps(used_runtime.hand_over()["login"])
