"""What an awaited cell asks the server before its question does not block the kernel's event loop."""

import pytest

SERVER = """
import asyncio, json
import claude_magic.notebook._compare, claude_magic.notebook._dry_run

# So that only a loop that is blocked ends the wait.
claude_magic.notebook._compare._LISTING_TIMEOUT = claude_magic.notebook._dry_run._COUNTING_TIMEOUT = 60
steps, asked = 0, []

async def work():
    global steps
    while True:
        steps += 1
        await asyncio.sleep(0.001)

async def answer(reader, writer):
    head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode().lower()
    length = [line.partition(":")[2] for line in head.splitlines() if line.startswith("content-length:")]
    await reader.readexactly(int(length[0]) if length else 0)
    asked.append(head.split()[1])
    begun = steps
    while steps < begun + 20:
        await asyncio.sleep(0.001)
    model = {"type": "model", "id": "claude-sonnet-5-5", "display_name": "S", "created_at": "2026-09-22T00:00:00Z"}
    listed = {"data": [model], "has_more": False, "first_id": model["id"], "last_id": model["id"]}
    body = json.dumps({"input_tokens": 4242} if "count" in asked[-1] else listed).encode()
    writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n" % len(body) + body)
    await writer.drain()

task = asyncio.create_task(work())
server = await asyncio.start_server(answer, "127.0.0.1", 0)
port = server.sockets[0].getsockname()[1]
"""


@pytest.fixture
def slow_server(kernel):
    """A server on the kernel's own event loop, which answers once a task of the user's has made 20 steps."""
    assert kernel.run(SERVER).status == "ok"
    kernel.run(
        "get_ipython().run_line_magic('config', f'ClaudeMagics.base_url = \"http://127.0.0.1:{port}\"')"
    )
    yield
    kernel.run("%config ClaudeMagics.base_url = None\ntask.cancel(), server.close()")


@pytest.mark.usefixtures("slow_server")
@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("%%claude --dry-run\nhi", "4,242 tokens, as the server counts them"),
        ("%claude --dry-run hi", "4,242 tokens, as the server counts them"),
        ("%%claude --compare sonnet,opus --dry-run\nhi", "4,242 tokens, as the server counts them"),
        ("%%claude --compare sonnet,sonett\nhi", "This server has no model sonett. Did you mean sonnet?"),
        (
            "%%claude --compare sonnet,sonett --dry-run\nhi",
            "This server has no model sonett. Did you mean sonnet?",
        ),
    ],
)
def test_tasks_of_the_user_go_on_while_an_awaited_cell_asks_the_server(kernel, cell, shown):
    """The server would never answer if they did not."""
    run = kernel.run(cell)

    assert shown in str(run.contents("display_data", "error"))


@pytest.mark.usefixtures("slow_server")
def test_an_unused_answer_of_the_server_is_no_error(kernel):
    """If it comes too late, the dry run does without."""
    kernel.run("claude_magic.notebook._dry_run._COUNTING_TIMEOUT = 0")

    run = kernel.run("%%claude --dry-run\nhi")

    assert run.status == "ok"
    assert "the server did not count it" in str(run.contents("display_data"))
    assert run.stderr == ""
