"""What `%config ClaudeMagics.…` can set: every setting but a key, which would end up in a saved notebook."""

from collections.abc import Mapping
from typing import Any

from traitlets import Bool, Dict, Enum, Float, Int, List, Unicode
from traitlets.config import Configurable

from ._option_values import EFFORT_LEVELS, THINKING_MODES

_UNSET: Any = {"default_value": None, "allow_none": True}


class ClaudeTraits(Configurable):
    """Settings as traits. `None` means unset: the environment, a settings file or the default then decides."""

    # What is asked...
    model = Unicode(help="Model that answers.", **_UNSET).tag(config=True)
    max_tokens = Int(help="Longest answer in tokens, thinking included.", **_UNSET).tag(config=True)
    effort = Enum(EFFORT_LEVELS, help="How hard the model tries.", **_UNSET).tag(config=True)
    thinking = Enum(THINKING_MODES, help="show (folded), hide, or off.", **_UNSET).tag(config=True)
    system = Unicode(help="System prompt.", **_UNSET).tag(config=True)

    # How it is shown...
    live = Bool(help="Draw answers while they stream; False shows one display at the end.", **_UNSET).tag(
        config=True
    )
    remote_images = Bool(help="Let answers load images from other hosts.", **_UNSET).tag(config=True)

    # How often and how long...
    rate_limit_rps = Float(help="Requests per second.", **_UNSET).tag(config=True)
    max_retries = Int(help="Attempts after the first.", **_UNSET).tag(config=True)
    initial_backoff = Float(help="Seconds before the first retry.", **_UNSET).tag(config=True)
    max_backoff = Float(help="Longest wait before a retry, in seconds.", **_UNSET).tag(config=True)
    max_retry_time = Float(help="Bound of the time spent retrying, in seconds.", **_UNSET).tag(config=True)
    timeout = Float(help="Bound of each phase of a request, in seconds.", **_UNSET).tag(config=True)
    stream_timeout = Float(help="Bound of a whole answer, in seconds.", **_UNSET).tag(config=True)

    # Where, and in which dialect...
    base_url = Unicode(help="Where the API is, without /v1.", **_UNSET).tag(config=True)
    api_version = Unicode(help="The anthropic-version header.", **_UNSET).tag(config=True)
    messages_path = Unicode(help="Path of the Messages call.", **_UNSET).tag(config=True)
    betas = List(trait=Unicode(), help="Beta features to ask for.", **_UNSET).tag(config=True)
    headers = Dict(help="Further request headers; a key is refused here.", **_UNSET).tag(config=True)
    auth_header = Enum(("x-api-key", "authorization"), help="Header that carries the key.", **_UNSET).tag(
        config=True
    )
    lenient_stream_end = Bool(help="Accept answers that end before message_stop.", **_UNSET).tag(config=True)

    def configured(self) -> Mapping[str, object]:
        """Return the settings that were set here, by name."""
        values = {name: getattr(self, name) for name in ClaudeTraits.class_own_traits(config=True)}
        return {name: value for name, value in values.items() if value is not None}
