"""Cells that fail: the error is short and coloured and has advice, and partial answers are kept."""

import pytest

from claude_magic.simulator import (
    Simulator,
    end_without_stop,
    error_event,
    reply,
    reset_mid_stream,
    status,
    stream_bytes,
)


@pytest.fixture(scope="module")
def kernel(start_kernel):
    """A kernel with short waits before retries."""
    return start_kernel(CLAUDE_MAGIC_INITIAL_BACKOFF="0.01", CLAUDE_MAGIC_MAX_BACKOFF="0.02")


@pytest.mark.parametrize(
    ("behaviour", "name"),
    [
        (status(400), "InvalidRequestError"),
        (status(401), "InvalidApiKeyError"),
        (status(403), "ForbiddenError"),
        (status(404), "NotFoundError"),
        (status(429, retry_after=86400), "RateLimitError"),
        (status(418), "UnknownStatusError"),
        (status(200, body=b"<html>not the API</html>", content_type="text/html"), None),
    ],
)
def test_e1_a_failed_cell_shows_a_short_error(kernel, start_kernel, sim, behaviour, name):
    """E1: the kind of error and what to do, without a single frame of a traceback; the cell fails."""
    sim.script(behaviour)
    if name == "RateLimitError":  # the requested pause applies to all later requests of the same kernel
        kernel = start_kernel()

    run = kernel.run("%%claude\nhi")

    assert run.status == "error"
    (output,) = run.outputs
    assert output["output_type"] == "error"
    assert name is None or output["ename"] == name
    text = "\n".join(output["traceback"])
    assert "\x1b[" in text, "coloured as IPython's own"
    assert len(text) < 1000
    assert ".py" not in text


def test_r2_exhausted_retries_end_in_the_last_error(kernel, sim):
    """R2: after four attempts, the error contains their number."""
    sim.script(*[status(529)] * 4)

    run = kernel.run("%%claude\nhi")

    assert run.error["ename"] == "OverloadedError"
    assert len(sim.requests) == 4


@pytest.mark.parametrize(
    ("behaviour", "name"),
    [
        (
            error_event("overloaded_error", after_deltas=2, text="Some words that had come."),
            "OverloadedError",
        ),
        (reset_mid_stream(after_events=4, text="Some words that had come."), "StreamInterruptedError"),
        (end_without_stop(after_deltas=2, text="Some words that had come."), "StreamInterruptedError"),
    ],
)
def test_s2_a_failure_in_mid_stream_keeps_the_partial_text(kernel, sim, behaviour, name):
    """S2: the error has its own class; the text is kept on the screen, in the variable and in claude.last; there is
    no retry."""
    sim.script(behaviour)

    run = kernel.run("%%claude -o partial\nhi")

    picture, error = run.outputs
    assert picture["data"]["text/plain"].startswith("Some")
    assert error["ename"] == name
    assert kernel.value("partial.text") == repr(picture["data"]["text/plain"])
    assert kernel.value("__import__('claude_magic').claude.last is partial") == "True"
    assert len(sim.requests) == 1


def test_an_answer_without_words_is_no_failure(kernel, sim):
    """A refusal, or `max_tokens` used up by thinking: the footer explains it."""
    sim.script(reply("", stop_reason="refusal"), reply("Cut", stop_reason="max_tokens"))

    refused, cut = kernel.run("%%claude\nhi"), kernel.run("%%claude\nhi")

    assert refused.status == cut.status == "ok"
    assert "declined" in refused.outputs[0]["data"]["text/html"]
    assert "max_tokens" in cut.outputs[0]["data"]["text/html"]


@pytest.mark.parametrize(
    "cell", ["%%claude --modle x\nhi", "%claude --modle x hi", "x = %claude --modle x hi"]
)
def test_an_option_mistake_is_one_line_and_sends_nothing(kernel, sim, cell):
    """A UsageError with a suggestion, and the cell fails."""
    run = kernel.run(cell)

    assert run.status == "error"
    assert run.stderr.startswith("UsageError: There is no option --modle. Did you mean --model?")
    assert run.stderr.count("\n") == 1
    assert sim.requests == []


def test_f1_a_missing_key_is_a_clear_error_at_first_use(start_kernel):
    """F1: import and load succeed; the error of the first cell says what to do."""
    kernel = start_kernel(ANTHROPIC_API_KEY="", ANTHROPIC_BASE_URL="")

    run = kernel.run("%%claude\nhi")

    assert run.error["ename"] == "ConfigurationError"
    assert "ANTHROPIC_API_KEY" in run.error["evalue"]
    assert len("\n".join(run.error["traceback"]).splitlines()) <= 4


@pytest.mark.parametrize("key", ["sk-ant-with\nnewline", "sk ant spaces", "sk-änt"])
def test_o2_a_bad_key_is_refused_and_not_shown(start_kernel, key):
    """O2: the message contains the variable's name, not its value."""
    kernel = start_kernel(ANTHROPIC_API_KEY=key)

    run = kernel.run("%%claude\nhi")

    assert run.error["ename"] == "ConfigurationError"
    assert key not in str(run.messages)


def test_an_unreachable_host_is_a_network_error(start_kernel):
    """The error says that the address may be wrong."""
    with Simulator() as gone:
        url = gone.url
    kernel = start_kernel(ANTHROPIC_BASE_URL=url, CLAUDE_MAGIC_MAX_RETRIES="0")

    run = kernel.run("%%claude\nhi")

    assert run.error["ename"] == "NetworkError"


def test_a_body_that_is_no_stream_is_an_error_not_an_empty_answer(kernel, sim):
    """Part of another format must not look like an answer."""
    sim.script(*[stream_bytes(b"data: [DONE]\n\n")] * 4)

    assert kernel.run("%%claude\nhi").status == "error"


def test_run_all_stops_at_a_failed_cell(sim, execute_notebook):
    """Later cells do not run."""
    sim.script(status(400))

    outputs, error = execute_notebook("%%claude\nhi", "print('never')")

    assert error is not None
    assert error.ename == "InvalidRequestError"
    assert outputs[1] == []


def test_a_notebook_run_by_nbclient_holds_one_output_per_cell(sim, execute_notebook):
    """The answer is saved once, with all MIME types and metadata; cell ids are not needed."""
    sim.script(reply(chunks=["A first paragraph.\n\n", *["More words here.\n\n"] * 200], chunk_delay=0.002))

    outputs, error = execute_notebook("%%claude -o answer\nhi", "len(answer)", "answer")

    assert error is None
    (output,) = outputs[0]
    assert output.output_type == "display_data"
    assert output.data["text/plain"].count("More words here.") == 200
    assert output.metadata["claude_magic"]["model"] == "claude-sonnet-5-5"
    (shown_again,) = outputs[2]
    assert shown_again.data["text/html"] == output.data["text/html"]


def test_r3_after_a_server_asked_for_a_day_every_way_to_ask_fails_at_once(start_kernel, sim):
    """R3: the next question, in any way of asking, immediately reports the server's wait, and is not sent."""
    kernel = start_kernel()
    sim.script(status(429, retry_after=86400))
    assert kernel.run("%%claude\nhi").error["ename"] == "RateLimitError"
    kernel.run("from claude_magic import claude")

    for code in (
        "%%claude\nagain",
        "%claude again, please",
        "claude.ask('again')",
        "await claude.ask_async('again')",
        "claude.submit('again').result()",
        "%%claude --compare sonnet,opus\nagain",
        "%%claude --bg\nagain",
        "claude.last.result()",
        "claude.panel().ask('again').result()",
    ):
        run = kernel.run(code)
        if "--bg" not in code:
            assert run.status == "error", code
            assert "Not sent" in "\n".join(run.error["traceback"]), code

    assert [request.path for request in sim.requests].count("/v1/messages") == 1


@pytest.mark.parametrize(
    "code",
    [
        "%%claude -m opsu\nhi",
        "%claude -m opsu hi there, you",
        "from claude_magic import claude; claude.ask('hi', model='opsu')",
        "%%claude -m opsu --bg\nhi",
        "%%claude --compare opsu,haiku\nhi",
        "%config ClaudeMagics.model = 'opsu'\nfrom claude_magic import claude; claude.panel().ask('hi').result()",
    ],
)
def test_a_slip_in_a_models_name_is_reported_wherever_it_is_asked(kernel, code):
    """The server rejects the name, and the error suggests a model."""
    run = kernel.run(code)
    if "--bg" in code:
        run = kernel.run("from claude_magic import claude; claude.last.result()")
    kernel.run("%config ClaudeMagics.model = 'sonnet'")

    assert run.status == "error"
    assert "Did you mean opus?" in "\n".join(run.error["traceback"])


def test_an_answer_that_was_cut_is_shown_without_half_written_marks(kernel, sim):
    """Alone, beside another, and in the background; and it is kept as it came."""
    text = "some **bold and [a link](https://exa"
    for cell in ("%%claude\nhi", "%%claude --compare sonnet,opus\nhi", "%%claude --bg\nhi\n"):
        sim.script(*[reply(text, stop_reason="max_tokens")] * 2)

        run = kernel.run(cell)
        kernel.run("__import__('claude_magic').claude.last.wait()")

        kept = "__import__('claude_magic').claude.last"
        assert eval(kernel.value(f"{kept}.text")) == text
        bundles = [output["data"] for output in run.outputs] + [
            eval(kernel.value(f"{kept}._repr_mimebundle_()[0]"))
        ]
        for data in bundles:
            assert "<strong>bold and a link</strong>" in data["text/html"]
            assert "**" not in data["text/html"]
            assert text in data["text/plain"]
            assert "some **bold" in data["text/markdown"]
