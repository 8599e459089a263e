"""A stand-in for the Claude Messages API on a loopback port.

```python
from claude_magic.simulator import Simulator, status

with Simulator() as sim:
    sim.script(status(529))  # the next request gets a 529
    ...  # point a client at sim.url
    assert len(sim.requests) == 2
```

It validates requests as strictly as the API does, answers by rules (the same prompt gets the same answer), and
can produce the failures that a client must handle: see `scenarios`.
"""

from ._batches import Batch, BatchScript
from ._behaviours import (
    accept_unheard,
    drop_before_headers,
    reply,
    status,
    stream_bytes,
    stream_events,
)
from ._faults import (
    close_mid_stream,
    drip,
    end_without_stop,
    error_event,
    hold,
    reset_mid_event,
    reset_mid_stream,
    slow_body,
    slow_headers,
)
from ._scenarios import Scenario, scenario, scenarios
from ._server import RecordedRequest
from ._simulator import Simulator
from ._stream import Answer, Behaviour, Post
from ._wire import Gate

__all__ = [
    "Answer",
    "Batch",
    "BatchScript",
    "Behaviour",
    "Post",
    "Gate",
    "RecordedRequest",
    "Scenario",
    "Simulator",
    "accept_unheard",
    "close_mid_stream",
    "drip",
    "drop_before_headers",
    "end_without_stop",
    "error_event",
    "hold",
    "reply",
    "reset_mid_event",
    "reset_mid_stream",
    "scenario",
    "scenarios",
    "slow_body",
    "slow_headers",
    "status",
    "stream_bytes",
    "stream_events",
]
