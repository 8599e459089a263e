"""The server's own web search, with results that were made up and say so."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence

from ._choice import pick
from ._exchange import JSON
from ._ids import new_id, opaque

_WISH = re.compile(
    r"\b(search|look up|latest|news|today|current|recent|who won|web|internet|online)\b", re.IGNORECASE
)
_PLACES = ("An overview", "Notes from the field", "A short history", "Questions and answers", "The basics")


def wants_search(prompt: str, tools: Sequence[JSON]) -> bool:
    """Whether the request offers a web search and the prompt calls for one."""
    return bool(_WISH.search(prompt)) and any(
        str(tool.get("type")).startswith("web_search_") for tool in tools
    )


def search_blocks(prompt: str) -> list[JSON]:
    """The search, its results and a text that cites them."""
    query = _query(prompt)
    call_id = new_id("srvtoolu")
    found = search_result(call_id, query)
    first = found["content"][0]
    cited = f"This page was invented for the search “{query}”."
    citation = {
        "type": "web_search_result_location",
        "url": first["url"],
        "title": first["title"],
        "cited_text": cited,
        "encrypted_index": _encrypted(cited),
    }
    return [
        {"type": "server_tool_use", "id": call_id, "name": "web_search", "input": {"query": query}},
        found,
        {"type": "text", "text": f"I searched for “{query}”. "},
        {"type": "text", "text": "The first page says that it was invented.", "citations": [citation]},
        {
            "type": "text",
            "text": " The simulator reaches no network: these results only show what a search looks like,"
            " with its query, its sources and its citations.",
        },
    ]


def search_result(call_id: str, query: str) -> JSON:
    """The result of a search, for the call with this id."""
    results = [_result(query, number) for number in range(3)]
    return {"type": "web_search_tool_result", "tool_use_id": call_id, "content": results}


def _query(prompt: str) -> str:
    words = re.sub(r"(?i)\b(please|search|look up|the web|for|on the internet|online)\b", " ", prompt)
    return " ".join(words.split())[:80].strip(" .?!,") or "anything"


def _result(query: str, number: int) -> JSON:
    kind = pick(query, _PLACES[number:] + _PLACES[:number])
    slug = "-".join(re.findall(r"[a-z0-9]+", query.lower())[:6]) or "page"
    return {
        "type": "web_search_result",
        "url": f"https://example.org/{slug}/{number + 1}",
        "title": f"{query.capitalize()}: {kind.lower()}",
        "encrypted_content": _encrypted(query + str(number)),
        "page_age": None,
    }


def _encrypted(text: str) -> str:
    return base64.b64encode(opaque(text, 30).encode()).decode()
