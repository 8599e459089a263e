"""What runs: the bridge and the client on it, started when there is work, and the limiters, which outlive both."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from ..client import BucketState, PaceState, TokenBucket
from ._bridge import Bridge
from ._known_pace import KnownPace, PaceRecord
from ._shared_client import SharedClient

_Result = TypeVar("_Result")


class Engine:
    """Runs work with the shared client, on the bridge. Every method may be called from any thread.

    Args:
        bucket_state: Where a former bucket of this kernel stood (`TokenBucket.dump`), or None.
        pace_record: What a former engine of this kernel had learnt of the server's limits (`dump_pace`), or None.
    """

    def __init__(
        self, bucket_state: Mapping[str, float] | None = None, pace_record: PaceRecord | None = None
    ) -> None:
        self._known_pace = KnownPace(pace_record)
        self._bucket_state = bucket_state
        self._bucket: TokenBucket | None = None
        self._bridge: Bridge | None = None
        self._shared: SharedClient | None = None
        self._lock = threading.RLock()

    @property
    def is_running(self) -> bool:
        """Whether thread and client exist."""
        return self._bridge is not None and self._bridge.is_usable

    def spawn(
        self,
        work: Callable[[SharedClient], Coroutine[Any, Any, _Result]],
        *,
        rate: float,
        on_end: Callable[[asyncio.Task[_Result]], None],
    ) -> Callable[[], None]:
        """Run a coroutine; return what cancels it. See `Bridge.spawn`.

        Args:
            work: Makes the coroutine.
            rate: Requests per second, where the bucket is yet to be made.
            on_end: Called on the bridge with its task, once that has ended.
        """
        with self._lock:
            bridge, shared = self._started(rate)
            return bridge.spawn(work(shared), on_end=on_end)

    def submit(
        self, work: Callable[[SharedClient], Coroutine[Any, Any, _Result]], *, rate: float
    ) -> concurrent.futures.Future[_Result]:
        """Run a coroutine; its result comes through the future. Arguments as for `spawn`."""
        with self._lock:
            bridge, shared = self._started(rate)
            return bridge.submit(work(shared))

    def limiter_state(self, rate: float) -> BucketState:
        """Level, queue and pause of the bucket, which is made for this rate if there is none yet."""
        with self._lock:
            return self._bucket_for(rate).state

    def pace_state(self) -> tuple[PaceState, ...]:
        """What the server allows, for each class of models that was asked."""
        return self._known_pace.state

    def close(self) -> None:
        """Cancel what runs, and end client and thread. The limiters stay; the next work starts the rest again."""
        with self._lock:
            bridge, self._bridge, self._shared = self._bridge, None, None
            if bridge is not None:
                bridge.close()

    def dump_bucket(self) -> Mapping[str, float] | None:
        """Return where the bucket stands, for the engine of another runtime."""
        return self._bucket_state if self._bucket is None else self._bucket.dump()

    def dump_pace(self) -> PaceRecord | None:
        """Return what was learnt of the server's limits, for the engine of another runtime."""
        return self._known_pace.dump()

    def _started(self, rate: float) -> tuple[Bridge, SharedClient]:
        if self._bridge is None or self._shared is None or not self._bridge.is_usable:
            self._shared = SharedClient(self._bucket_for(rate), self._known_pace)
            self._bridge = Bridge(on_close=self._shared.aclose)
        return self._bridge, self._shared

    def _bucket_for(self, rate: float) -> TokenBucket:
        if self._bucket is None:
            self._bucket = TokenBucket(rate)
            if self._bucket_state is not None:
                self._bucket.restore(self._bucket_state)
        return self._bucket
