"""The classes of models that share rate limits."""

from __future__ import annotations

import pytest

from claude_magic.client import model_class
from claude_magic.simulator._models import ALL_MODELS


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-opus-4-1-20250805", "claude-opus-4"),
        ("claude-opus-4-8", "claude-opus-4"),
        ("claude-sonnet-4-6", "claude-sonnet-4"),
        ("claude-sonnet-5", "claude-sonnet-5"),
        ("claude-sonnet-5-5", "claude-sonnet-5-5"),
        ("claude-haiku-5-5-20260901", "claude-haiku-5-5"),
        ("claude-fable-5-2", "claude-fable-5"),
        ("claude-mythos-5", "claude-fable-5"),
        ("llama3:8b", "llama3:8b"),
        ("", ""),
    ],
)
def test_models_of_one_generation_share_their_limits(model: str, expected: str) -> None:
    """As published: all of Opus 4, all of Sonnet 4, all of Fable 5; every other model has its own limits."""
    assert model_class(model) == expected


def test_the_classes_are_those_of_the_simulator() -> None:
    """Two models are in one class exactly if they share a bucket in the simulator."""
    current = [model for model in ALL_MODELS if model.lifecycle != "retired"]
    assert len(current) > 5
    for first in current:
        for second in current:
            is_shared = first.bucket == second.bucket
            assert (model_class(first.id) == model_class(second.id)) is is_shared, (first.id, second.id)
