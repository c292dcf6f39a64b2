"""An offline GigaChat on this machine: OAuth and API, without a key, a network or a dependency.

    with Emulator() as emu:
        giga = GigaChat(**emu.config)

It answers as the service was recorded, down to the order of keys and the bytes of a stream, and says something
sensible in Russian, the same each time. `enqueue()` scripts the next responses, `requests` remembers what was asked,
`fault` spoils responses by name. From a shell: ``python -m gigachat_lite.emulator --port 8090``. Standard library
alone, nothing of the client. The modules: `server` (sockets, with `connection`, `web` and `tls`), `scripts` and
`faults`; `service` (routes, over `state`); the endpoints `auth`, `chat_v1`, `chat_v2`, `batches`, `threads`
(assistants too), `function_specs` and `endpoints`; what they are made of: `validation`, `files`,
`models`, `replies`, `canned`, `function_calls`, `server_tools`, `regex_text` and `text`.
"""

from __future__ import annotations

from .faults import FAULTS
from .models import SCOPES
from .scripts import response
from .server import Emulator
from .web import Request, Response

__all__ = ["FAULTS", "SCOPES", "Emulator", "Request", "Response", "response"]
