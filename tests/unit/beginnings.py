"""The beginning of a reply, for tests of code that draws it."""

from claude_magic.runtime import Phase, ReplySnapshot

BEGINNING = ReplySnapshot(
    phase=Phase.SENT,
    blocks=(),
    model="claude-sonnet-5-5",
    usage=None,
    stop_reason=None,
    stop_details=None,
    stop_sequence=None,
    request_id=None,
    is_simulated=False,
    elapsed=1.0,
    wait=None,
    error=None,
    attempts=(),
    version=1,
)
