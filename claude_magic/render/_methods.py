"""Renders the Methods paragraph of a paper and its manifest from the recorded requests."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from .._version import __version__
from ..client import ConfigurationError, as_sentence, counted
from ..context import fence_around, redact
from ..runtime import Asked, AskedRows, Runtime, Tally, asked_of, format_usd

_MOST_LISTED: Final = 40
_MANIFEST: Final = "claude_magic methods manifest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Methods:
    """A description of the requests: a Markdown paragraph (`str`, and as the value of a cell), and data (`manifest`).

    Attributes:
        asked: The requests outside of maps, oldest first.
        maps: The requests of maps.
        cassette: The name of the described cassette; "" if the requests of this kernel are described.
        api_version: The requested version of the API.
        left_out: Number of later requests that were not recorded.
        has_appendix: Whether to include the prompts.
    """

    asked: Sequence[Asked]
    maps: Sequence[AskedRows] = ()
    cassette: str = ""
    api_version: str = ""
    left_out: int = 0
    has_appendix: bool = False

    def __str__(self) -> str:
        """Return the paragraph, the table of requests by hash, and the appendix if `has_appendix` is set."""
        if not self.asked and not self.maps:
            where = (
                f"The cassette {self.cassette} is empty" if self.cassette else "This kernel has sent nothing"
            )
            return f"{where}, so there are no methods to describe."
        parts = [" ".join(_sentences(self)), _table(self), _appendix(self) if self.has_appendix else ""]
        return "\n\n".join(part for part in parts if part)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Any:
        return {"text/markdown": str(self), "text/plain": str(self)}

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as JSON data: a summary, and the records of the requests."""
        return {
            "format": _MANIFEST,
            "version": 1,
            "claude_magic": __version__,
            "api_version": self.api_version,
            "source": {"cassette": self.cassette} if self.cassette else "kernel",
            "summary": _summary(self),
            "requests": [_as_data(each, with_prompt=self.has_appendix) for each in self.asked],
            "maps": [_map_as_data(each, with_prompt=self.has_appendix) for each in self.maps],
        }

    def manifest_json(self) -> str:
        """Return the manifest as the text of a JSON file."""
        return json.dumps(self.manifest, indent=2, ensure_ascii=False) + "\n"


def describe_methods(
    runtime: Runtime, *, of_cassette: bool, has_appendix: bool, manifest: str | Path | None
) -> Methods:
    """Return a description of the requests of this kernel or of its cassette, and write the manifest if requested.

    Args:
        runtime: The runtime of this kernel.
        of_cassette: Whether to describe the requests in the cassette instead of those of this kernel.
        has_appendix: Whether to include the prompts.
        manifest: The file to write the manifest to; None writes none.

    Raises:
        CassetteError: The cassette cannot be read.
        ConfigurationError: The manifest cannot be written.
    """
    version = runtime.settings().values.api_version
    if of_cassette:
        cassette = runtime.cassette()
        asked = list(map(asked_of, cassette.recordings()))
        made = Methods(asked=asked, cassette=cassette.name, api_version=version, has_appendix=has_appendix)
    else:
        log = runtime.log
        made = Methods(
            asked=log.asked(),
            maps=log.rows(),
            api_version=version,
            left_out=log.left_out,
            has_appendix=has_appendix,
        )
    if manifest is not None:
        try:
            Path(manifest).expanduser().write_text(made.manifest_json(), encoding="utf-8")
        except OSError as failure:
            reason = failure.strerror or type(failure).__name__
            raise ConfigurationError(
                f"The manifest {manifest} cannot be written: {as_sentence(reason)} Name another file."
            ) from None
    return made


def _tally(methods: Methods) -> Tally:
    tally = Tally()
    for asked in methods.asked:
        tally.add(asked)
    for rows in methods.maps:
        tally.merge(rows.tally)
    return tally


def _summary(methods: Methods) -> dict[str, Any]:
    tally = _tally(methods)
    return {
        "requests": tally.outcomes.total() + methods.left_out,
        **{outcome: tally.outcomes[outcome] for outcome in ("answered", "failed", "interrupted")},
        "replayed": tally.replayed,
        "simulated": tally.simulated,
        "without_record": methods.left_out,
        "first": tally.first,
        "last": tally.last,
        "tokens_in": tally.tokens_in,
        "tokens_out": tally.tokens_out,
        "cost_usd": None if tally.cost is None else round(tally.cost, 6),
    }


def _all(methods: Methods) -> list[Asked]:
    return [*methods.asked, *(record for each in methods.maps for record in each.records)]


def _sentences(methods: Methods) -> Iterator[str]:
    tally = _tally(methods)
    requests = tally.outcomes.total() + methods.left_out
    version = f", version {methods.api_version}" if methods.api_version else ""
    # A cassette does not contain the version that recorded it.
    program = "" if methods.cassette else f" {__version__}"
    yield (
        f"{counted(requests, 'request')} to language models of Anthropic (Messages API{version}) {_were(requests)} "
        f"made {_span(tally.first, tally.last)} with claude_magic{program}."
    )
    yield from _outcomes(methods, tally)
    yield from _models(tally)
    yield from _parameters(methods)
    price = "" if tally.cost is None else f", {format_usd(round(tally.cost, 6))} by the published prices"
    replayed = ", replays not counted" if tally.replayed and not methods.cassette else ""
    yield f"All answers together took {tally.tokens_in:,} tokens of input and {tally.tokens_out:,} of output{price}{replayed}."
    yield (
        "Each request is identified by a hash (BLAKE2b, 128 bits) of model, messages, system prompt, tools, schema and parameters."
    )


def _outcomes(methods: Methods, tally: Tally) -> Iterator[str]:
    answered, failed, interrupted = (
        tally.outcomes[outcome] for outcome in ("answered", "failed", "interrupted")
    )
    ended = [f"{answered:,} {_were(answered)} answered"]
    if failed:
        ended.append(f"{failed:,} failed")
    if interrupted:
        ended.append(f"{interrupted:,} {_were(interrupted)} interrupted")
    errors = ", ".join(f"{name}: {count}" for name, count in tally.errors.items())
    named = f" ({errors})" if errors else ""
    yield f"{', '.join(ended)}{named}."
    if methods.cassette:
        yield f"They are recorded in the cassette {methods.cassette}, and a replay repeats these answers without asking again."
    elif tally.replayed:
        yield (
            f"{tally.replayed:,} of the answers {_were(tally.replayed)} replayed from a cassette: the date is that of the recording, "
            "and a replay is not a new sample."
        )
    if tally.simulated:
        yield f"Note: {tally.simulated:,} of these {'is' if tally.simulated == 1 else 'are'} from a simulator, not from a model."
    if methods.left_out:
        yield f"No record was kept of {methods.left_out:,} later requests."


def _models(tally: Tally) -> Iterator[str]:
    named = [
        f"{model} ({counted(answers.count, 'answer')}, {_span(answers.first, answers.last)})"
        for model, answers in tally.models.items()
    ]
    if named:
        yield f"Models, as the responses name them: {'; '.join(named)}."


def _parameters(methods: Methods) -> Iterator[str]:
    counts = Counter(_in_words(each.parameters) for each in methods.asked)
    for rows in methods.maps:
        if rows.records:
            counts[_in_words(rows.records[0].parameters)] += rows.tally.outcomes.total()
    shown = [
        f"{text}, in {counted(count, 'request')}" if len(counts) > 1 else text
        for text, count in counts.most_common()
    ]
    yield f"Parameters: {'; '.join(shown)}. Parameters that are not listed were left at the server's defaults."


def _in_words(parameters: Mapping[str, Any]) -> str:
    return ", ".join(_parameter(name, value) for name, value in parameters.items()) or "none"


_KINDS_OF_THINKING: Final = {"enabled": "thinking", "disabled": "no thinking"}
_PARAMETERS: Final = {
    "betas": "beta features",
    "schema_sha256": "an output schema",
    "system_sha256": "a system prompt",
    "tools_sha256": "tools",
    "top_k": "top-k",
    "top_p": "top-p",
}
_HASH_DIGITS: Final = 16
"""Characters that are shown of the hash of a system prompt, tools or schema; the manifest contains the whole hash."""
_PLAIN_WORDS: Final = re.compile(r"[A-Za-z0-9](?:[\w. -]*[A-Za-z0-9])?")


def _parameter(name: str, value: Any) -> str:
    """Return a parameter in the notation of a paper, as in "at most 500 tokens of output"."""
    match name, value:
        case "max_tokens", int():
            return f"at most {value:,} tokens of output"
        case "stop_sequences", list():
            return f"stop sequences {_listed([_code(str(text)) for text in value])}"
        case "thinking", {"type": str() as kind, **more}:
            return f"{_KINDS_OF_THINKING.get(kind) or f'{_text(kind)} thinking'}{_details(more)}"
        case "output_config", {"effort": str() as effort, **more}:
            return ", ".join(
                [f"effort {_text(effort)}", *(_parameter(str(field), each) for field, each in more.items())]
            )
        case _, str() if name.endswith("_sha256"):
            return f"{_PARAMETERS.get(name) or _name(name)} (SHA-256 `{value[:_HASH_DIGITS]}…`)"
        case _, {"type": str() as kind, **more}:
            return f"{_name(name)} {_text(kind)}{_details(more)}"
    return f"{_PARAMETERS.get(name) or _name(name)} {_value(value)}"


def _details(fields: Mapping[Any, Any]) -> str:
    named = ", ".join(f"{_name(str(name))} {_value(value)}" for name, value in fields.items())
    return f" ({named})" if named else ""


def _value(value: Any) -> str:
    match value:
        case bool():
            return "on" if value else "off"
        case None:
            return "none"
        case Mapping():
            return _details(value).strip() or "none"
        case list():
            return _listed(list(map(_value, value))) or "none"
    return _text(str(value))


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _name(name: str) -> str:
    return _text(name.replace("_", " ").strip())


def _text(text: str) -> str:
    """Return text as Markdown: unchanged if it has no Markdown syntax, else as code."""
    return text if _PLAIN_WORDS.fullmatch(text) else _code(text)


def _code(text: str) -> str:
    """Return text typed by the user as a Markdown code span on one line."""
    shown = text.replace("\n", "\\n").replace("\r", "\\r")
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{fence} {shown} {fence}" if "`" in shown else f"{fence}{shown}{fence}"


def _table(methods: Methods) -> str:
    rows = _by_key(methods.asked)
    shown = [
        f"| `{key}` | {each.model or each.asked_model} | {each.at[:10]} | {how} |"
        for key, (each, how) in list(rows.items())[:_MOST_LISTED]
    ]
    lines = ["| request | model | date | outcome |", "|:---|:---|:---|:---|", *shown] if shown else []
    more = len(rows) - len(shown)
    if more > 0:
        lines += ["", f"{more:,} more requests are in the manifest."]
    if methods.maps:
        asked = len({key for each in methods.maps for key in each.distinct_keys})
        maps = "A map" if len(methods.maps) == 1 else f"{len(methods.maps)} maps"
        lines += ["", f"{maps} asked {counted(asked, 'distinct request')}; the manifest lists their hashes."]
    return "\n".join(lines)


def _by_key(asked: Iterable[Asked]) -> dict[str, tuple[Asked, str]]:
    """Return the requests by hash, in order of their first occurrence, each with a description of its outcomes."""
    grouped: dict[str, list[Asked]] = {}
    for each in asked:
        grouped.setdefault(each.key, []).append(each)
    return {key: (found[0], _how(found)) for key, found in grouped.items()}


def _how(found: Sequence[Asked]) -> str:
    counts = Counter(f"{each.outcome}{', replayed' if each.is_replay else ''}" for each in found)
    return "; ".join(f"{how}{f' {count} times' if count > 1 else ''}" for how, count in counts.items())


def _appendix(methods: Methods) -> str:
    parts = ["### Prompts"]
    for each, _ in _by_key(each for each in _all(methods) if each.prompt).values():
        fence = fence_around(each.prompt)
        parts.append(f"`{each.key}`\n\n{fence}text\n{redact(each.prompt)[0]}\n{fence}")
    return "\n\n".join(parts)


def _as_data(asked: Asked, *, with_prompt: bool) -> dict[str, Any]:
    fields = asdict(asked)
    prompt = fields.pop("prompt")
    if with_prompt:
        fields["prompt"] = redact(prompt)[0]
    return {name: value for name, value in fields.items() if value is not None}


def _map_as_data(rows: AskedRows, *, with_prompt: bool) -> dict[str, Any]:
    tally = rows.tally
    return {
        **{outcome: tally.outcomes[outcome] for outcome in ("answered", "failed", "interrupted")},
        "replayed": tally.replayed,
        "simulated": tally.simulated,
        "models": {model: asdict(answers) for model, answers in tally.models.items()},
        "tokens_in": tally.tokens_in,
        "tokens_out": tally.tokens_out,
        "cost_usd": tally.cost,
        "first": [_as_data(each, with_prompt=with_prompt) for each in rows.records],
        "keys": rows.distinct_keys,
    }


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _span(first: str | None, last: str | None) -> str:
    begin, end = (first or "")[:10], (last or "")[:10]
    return f"on {begin}" if begin == end else f"between {begin} and {end}"
