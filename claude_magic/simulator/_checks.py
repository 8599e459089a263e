"""Checks of request headers, of JSON values (with the API's error messages), of tools and of schemas."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import NoneType
from typing import Any, TypeAlias

from ._models import Model
from ._wire import JSON, APIError, Request, invalid, read_corpus, split_target

OLD_VERSION = "2023-06-01"
NEW_VERSION = "2026-10-21"
VERSIONS = (OLD_VERSION, NEW_VERSION)

_FIRST_PARTY_BETA = "claude-code-20250219"
"""Sent by the Claude Code command-line client, whose own beta features change with each version."""
_DATED_BETA = re.compile(r"[a-z][a-z\d-]*-(\d{8}|\d{4}-\d{2}-\d{2})")

KNOWN_BETAS = frozenset(read_corpus("betas.txt").split())

_LOOPBACK_HOST = re.compile(r"(?P<host>localhost\.?|[\d.]+|\[[\da-f:.]+\])(:\d{1,5})?", re.IGNORECASE)


def find_foreign_request(target: str, headers: Mapping[str, str]) -> APIError | None:
    """Return a 403 for a request that a web page of another site may have sent; None if the request is local.

    A web page can reach a loopback port directly, or through a host name that its owner points to 127.0.0.1 (DNS
    rebinding). It cannot forge the headers that the browser sets: `Host`, `Origin` and `Sec-Fetch-Site`.
    """
    url = split_target(target)
    host = url.netloc if url.scheme else headers.get("host", "")  # RFC 9112, section 3.2.2
    for each in (host, headers.get("host", "")):
        if not _is_loopback(each):
            shown = each or "no host"
            return APIError(403, f"Host: {shown} is not this machine. Ask for localhost, 127.0.0.1 or [::1].")
    origin = headers.get("origin")
    if origin is not None:
        scheme, _, where = origin.partition("://")
        if scheme not in ("http", "https") or not _is_loopback(where):
            return APIError(403, f"Origin: {origin} is not this machine.")
    if headers.get("sec-fetch-site") in ("cross-site", "same-site") and origin is None:
        return APIError(403, "Sec-Fetch-Site: requests from other sites are not allowed.")
    return None


def _is_loopback(host: str) -> bool:
    """Whether a host, with an optional port, is localhost or a loopback address. Names are not resolved."""
    match = _LOOPBACK_HOST.fullmatch(host)
    if match is None:
        return False
    name = match["host"].lower().strip("[]").removesuffix(".")
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def authenticate(request: Request, api_key: str | None) -> str:
    """Return the key of a request.

    Args:
        request: The request.
        api_key: The only valid key; by default any key is valid that does not contain "invalid".

    Raises:
        APIError: 401, the key is missing or invalid.
    """
    if "x-api-key" in request.headers:  # wins when both are sent
        key, complaint = request.headers["x-api-key"], "invalid x-api-key"
    else:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        key, complaint = key if scheme.lower() == "bearer" else "", "invalid bearer token"
        if not key:
            raise APIError(401, "x-api-key header is required")
    if not key or "invalid" in key or (api_key is not None and key != api_key):
        raise APIError(401, complaint)
    return key


def api_version(request: Request) -> str:
    """Return the API version in the request headers."""
    version = request.headers.get("anthropic-version")
    if version is None:
        raise invalid("anthropic-version: header is required")
    if version not in VERSIONS:
        raise invalid(
            f'anthropic-version: "{version}" is not a valid version. Use one of {", ".join(VERSIONS)}.'
        )
    return version


def betas(request: Request) -> frozenset[str]:
    """Return the beta features in the request headers."""
    header = request.headers.get("anthropic-beta", "")
    wanted = [value.strip() for value in header.split(",") if value.strip()]
    is_first_party = _FIRST_PARTY_BETA in wanted
    unknown = [
        value
        for value in wanted
        if value not in KNOWN_BETAS and not (is_first_party and _DATED_BETA.fullmatch(value))
    ]
    if unknown:
        values = ", ".join(f"`{value}`" for value in unknown)
        raise invalid(f"Unexpected value(s) {values} for the `anthropic-beta` header.")
    return frozenset(wanted)


def check_json_headers(request: Request) -> None:
    """Check that the headers declare an uncompressed JSON body."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        sent = f"`{media_type}`" if media_type else "none"
        raise invalid(f"content-type: `application/json` is required, but the request has {sent}")
    if request.headers.get("content-encoding", "identity") != "identity":
        code = {"error_code": "request_body_encoding_unsupported"}
        raise APIError(400, "The simulator does not support compressed request bodies.", details=code)


def check_json(request: Request) -> None:
    """Check that the body is a JSON object and declared as JSON."""
    check_json_headers(request)
    if request.body is None:
        raise invalid("The request body is not valid JSON")
    check_object(request.body)


def check_object(body: Any) -> None:
    """Check that a body is a JSON object."""
    if not isinstance(body, dict):
        raise invalid("Input should be a valid dictionary or object to extract fields from")


# Checks of JSON values.
Check: TypeAlias = Callable[[Any, str], object]
"""Checks the value at a path."""


def of_type(name: str, *kinds: type) -> Callable[[Any, str], Any]:
    """Return a check for a value of one of these types. A boolean is no number."""

    def check_type(value: Any, path: str) -> Any:
        if type(value) not in kinds:
            raise invalid(f"{path}: Input should be a valid {name}")
        return value

    return check_type


check_string: Callable[[Any, str], str] = of_type("string", str)
check_boolean: Callable[[Any, str], bool] = of_type("boolean", bool)
check_dictionary: Callable[[Any, str], JSON] = of_type("dictionary", dict)
check_array: Callable[[Any, str], list[Any]] = of_type("list", list)


def check_one_of(value: Any, path: str, choices: Collection[str]) -> str:
    """Check that a value is one of these strings."""
    if not isinstance(value, str) or value not in choices:
        *others, last = (f"'{choice}'" for choice in choices)
        listed = f"{', '.join(others)} or {last}" if others else last
        raise invalid(f"{path}: Input should be {listed}")
    return value


class Shape:
    """Checks an object: its required fields, its optional fields, then that there are no others.

    Args:
        required: Required fields, in the order of their checks.
        optional: Optional fields, in the order of their checks.
        free: Optional fields with any value.
        is_open: Whether unknown fields are allowed.
    """

    def __init__(
        self,
        required: Mapping[str, Check] | None = None,
        optional: Mapping[str, Check] | None = None,
        free: Collection[str] = (),
        *,
        is_open: bool = False,
    ) -> None:
        self._required = tuple((required or {}).items())
        self._optional = tuple((optional or {}).items())
        self._known = frozenset((*(required or ()), *(optional or ()), *free))
        self._is_open = is_open

    def __call__(self, value: Any, path: str) -> JSON:
        """Check a value. Return it."""
        fields = check_dictionary(value, path)
        prefix = f"{path}." if path else ""
        self.check_values(fields, prefix)
        if not self._is_open and not self._known.issuperset(fields):
            raise invalid(f"{prefix}{self.unknown(fields)[0]}: Extra inputs are not permitted")
        return fields

    def check_values(self, fields: JSON, prefix: str = "") -> None:
        """Check the values of the known fields, whose paths begin with the prefix."""
        for name, check in self._required:
            if name not in fields:
                raise invalid(f"{prefix}{name}: Field required")
            check(fields[name], prefix + name)
        for name, check in self._optional:
            if name in fields:
                check(fields[name], prefix + name)

    def unknown(self, fields: JSON) -> list[str]:
        """Return the names of unknown fields, in order."""
        return [name for name in fields if name not in self._known]


def one_of(*choices: str) -> Callable[[Any, str], str]:
    """Return a check for one of these strings."""
    return partial(check_one_of, choices=choices)


def text_that(rule: Callable[[str], object], problem: str) -> Check:
    """Return a check for a string that a rule accepts. `{path}` in the problem is its path."""

    def check_text(value: Any, path: str) -> None:
        if not rule(check_string(value, path)):
            raise invalid(problem.replace("{path}", path))

    return check_text


def string(longest: int) -> Check:
    """Return a check for a string with a maximum length."""
    problem = f"{{path}}: String should have at most {longest} characters"
    return text_that(lambda text: len(text) <= longest, problem)


check_name = text_that(
    re.compile(r"[a-zA-Z0-9_-]{1,64}\Z").match,
    "{path}: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
)


def number(check: Check, *, least: int, most: float = math.inf) -> Check:
    """Return a check for a number within bounds."""

    def check_bounds(value: Any, path: str) -> None:
        check(value, path)
        if not least <= value <= most:
            bound = f"greater than or equal to {least}" if value < least else f"less than or equal to {most}"
            raise invalid(f"{path}: Input should be {bound}")

    return check_bounds


integer = partial(number, of_type("integer", int))
share = number(of_type("number", int, float), least=0, most=1)


def either(kind: type, check: Check) -> Check:
    """Return a check for a value of this type, or else one that the check accepts."""
    return lambda value, path: None if isinstance(value, kind) else check(value, path)


nullable = partial(either, NoneType)
text_or = partial(either, str)


def list_of(check: Check) -> Check:
    """Return a check for an array of values."""

    def check_items(value: Any, path: str) -> None:
        for index, item in enumerate(check_array(value, path)):
            check(item, f"{path}.{index}")

    return check_items


def tagged(shapes: Mapping[str, Check]) -> Check:
    """Return a check for an object of the shape that its `type` names. The type is part of the paths."""
    tag = Shape({"type": one_of(*shapes)}, is_open=True)

    def check_tagged(value: Any, path: str) -> None:
        fields = tag(value, path)
        shapes[fields["type"]](fields, f"{path}.{fields['type']}")

    return check_tagged


_DATED = re.compile(
    r"(web_search|web_fetch|code_execution|tool_search_tool_(regex|bm25)|advisor|bash|text_editor|memory"
    r"|computer(_toolset)?|browser_toolset)_(?P<date>\d{8})\Z"
)
NEWEST_SERVER_TOOLS = ("web_search_20260318", "web_fetch_20260318", "code_execution_20260521")


def check_tools(value: Any, model: Model) -> list[JSON]:
    """Check `tools`. Return the list."""
    tools = check_array(value, "tools")
    names: set[str] = set()
    for index, tool in enumerate(tools):
        name = _check_tool(check_dictionary(tool, f"tools.{index}"), f"tools.{index}", model)
        if name in names:
            raise invalid("tools: Tool names must be unique.")
        names.add(name)
    return tools


def _check_tool(tool: JSON, path: str, model: Model) -> str:
    kind = tool.get("type", "custom")
    if kind == "mcp_toolset":
        return f"mcp:{tool.get('mcp_server_name')}"
    if kind != "custom":
        if not isinstance(kind, str) or not _DATED.match(kind):
            raise invalid(
                f"{path}: Input tag '{kind}' found using 'type' does not match any of the expected tags"
            )
        if kind in NEWEST_SERVER_TOOLS and not model.has_newest_server_tools:
            raise invalid(f"{path}: '{kind}' is not supported by {model.id}")
        return check_string(tool.get("name", kind), f"{path}.{kind}.name")
    return str(_CUSTOM_TOOL(tool, f"{path}.custom")["name"])


def _check_input_schema(value: Any, path: str) -> None:
    _check_keywords(_OBJECT_SCHEMA(value, path), path)


_OBJECT_SCHEMA = Shape({"type": one_of("object")}, is_open=True)
_CUSTOM_TOOL = Shape(
    {"name": check_name, "input_schema": _check_input_schema},
    free=(
        *("type", "description", "strict", "cache_control", "input_examples", "defer_loading"),
        *("allowed_callers", "eager_input_streaming"),
    ),
)
_OPTIONS = ("type", "disable_parallel_tool_use")
TOOL_CHOICE = tagged(
    {
        "auto": Shape(free=_OPTIONS),
        "any": Shape(free=_OPTIONS),
        "tool": Shape({"name": check_string}, free=_OPTIONS),
        "none": Shape(free=("type",)),
    }
)


def check_tool_choice(choice: JSON, tools: list[JSON], model: Model, *, has_manual_thinking: bool) -> None:
    """Check that a `tool_choice` suits the tools, the model and the thinking."""
    kind = choice["type"]
    if not tools and kind != "none":
        raise invalid("tool_choice: `tool_choice` may only be specified while providing `tools`.")
    if kind not in ("any", "tool"):
        return
    if not model.has_forced_tools:
        raise invalid(f"tool_choice: forced tool use (`{kind}`) is not supported by {model.id}. Use `auto`.")
    if has_manual_thinking:
        raise invalid("Thinking may not be enabled when tool_choice forces tool use.")
    if kind == "tool" and choice["name"] not in [tool.get("name") for tool in tools]:
        raise invalid(f"Tool '{choice['name']}' not found in provided tools")


_KEYWORDS: Mapping[str, type | tuple[type, ...]] = {
    "type": (str, list),
    "properties": dict,
    "required": list,
    "items": (dict, bool),
    "enum": list,
    "anyOf": list,
    "oneOf": list,
    "allOf": list,
    "$ref": str,
    "$defs": dict,
    "description": str,
    "format": str,
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), (int, float)),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), int),
}
"""The types of the values of keywords."""


def _check_keywords(schema: Any, path: str) -> None:
    """Check that a schema and its parts are JSON schemas. Fields and items may be of any kind, with `true` as their schema."""
    if not isinstance(schema, dict) or not all(
        isinstance(schema[word], kind) for word, kind in _KEYWORDS.items() if word in schema
    ):
        raise invalid(
            f"{path}: JSON schema is invalid. It must match JSON Schema draft 2020-12"
            " (https://json-schema.org/draft/2020-12)."
        )
    parts = [part for word in _UNIONS for part in schema.get(word, ())]
    plain = [
        *schema.get("properties", {}).values(),
        *schema.get("$defs", {}).values(),
        schema.get("items", True),
    ]
    for part in (*parts, *(part for part in plain if not isinstance(part, bool))):
        _check_keywords(part, path)


_UNIONS = ("anyOf", "allOf", "oneOf")
UNSUPPORTED = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "if",
    "not",
)
MAX_OPTIONAL = 24
MAX_UNIONS = 16


_OUTPUT_FORMAT = Shape({"type": one_of("json_schema"), "schema": check_dictionary}, free=("name",))


def check_output_format(value: Any, path: str = "output_config.format") -> None:
    """Check `output_config.format`."""
    schema = _OUTPUT_FORMAT(value, path)["schema"]
    _check_keywords(schema, f"{path}.schema")
    checker = _SchemaChecker(schema)
    checker.check(schema, f"{path}.schema", ())
    if checker.optional > MAX_OPTIONAL:
        raise invalid(f"{path}.schema: Schema has more than {MAX_OPTIONAL} optional parameters")
    if checker.unions > MAX_UNIONS:
        raise invalid(f"{path}.schema: Schema has more than {MAX_UNIONS} parameters with union types")


class _SchemaChecker:
    """Checks a schema part by part, and counts what is limited."""

    def __init__(self, root: JSON) -> None:
        self._root = root
        self.optional = 0
        self.unions = 0

    def check(self, value: Any, path: str, seen: tuple[str, ...]) -> None:
        """Check a part, reached by way of the references in `seen`."""
        schema = check_dictionary(value, path)
        for word in UNSUPPORTED:
            if word in schema:
                raise invalid(
                    f"{path}: For '{schema.get('type', 'any')}' type, property '{word}' is not supported"
                )
        if schema.get("minItems", 0) not in (0, 1):
            raise invalid(f"{path}: 'minItems' values other than 0 or 1 are not supported")
        if "$ref" in schema:
            self._check_reference(schema["$ref"], path, seen)
        if schema.get("type") == "object":
            self._check_object(schema, path, seen)
        if isinstance(schema.get("items"), dict):
            self.check(schema["items"], f"{path}.items", seen)
        unions = [word for word in _UNIONS if word in schema]
        self.unions += bool(unions) or isinstance(schema.get("type"), list)
        for word in unions:
            for index, part in enumerate(check_array(schema[word], f"{path}.{word}")):
                self.check(part, f"{path}.{word}.{index}", seen)

    def _check_object(self, schema: JSON, path: str, seen: tuple[str, ...]) -> None:
        if schema.get("additionalProperties") is not False:
            raise invalid(
                f"{path}: For 'object' type, 'additionalProperties' must be explicitly set to false"
            )
        properties = check_dictionary(schema.get("properties", {}), f"{path}.properties")
        self.optional += sum(1 for name in properties if name not in schema.get("required", []))
        for name, part in properties.items():
            self.check(part, f"{path}.properties.{name}", seen)

    def _check_reference(self, value: Any, path: str, seen: tuple[str, ...]) -> None:
        reference = check_string(value, f"{path}.$ref")
        if not reference.startswith("#/"):
            raise invalid(f"{path}.$ref: External references are not supported")
        if reference in seen:
            raise invalid(f"{path}.$ref: Recursive schemas are not supported")
        self.check(resolve(reference, self._root, path), f"{path}.$ref", (*seen, reference))


def resolve(reference: str, root: JSON, path: str = "schema") -> JSON:
    """Return the part of the schema that a local reference points to."""
    part: Any = root
    for key in reference.removeprefix("#/").split("/"):
        if not isinstance(part, dict) or key not in part:
            raise invalid(f"{path}: Reference '{reference}' does not exist")
        part = part[key]
    return check_dictionary(part, path)
