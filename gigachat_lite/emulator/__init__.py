"""An offline GigaChat on this machine: OAuth and API, without a key, a network or a dependency.

    with Emulator() as emu:
        giga = GigaChat(**emu.config)

It answers as the service was recorded, down to the order of keys and the bytes of a stream, and says something
sensible in Russian, the same each time. `enqueue()` scripts the next answers, `requests` remembers what was asked,
`fault` spoils answers by name. From a shell: ``python -m gigachat_lite.emulator --port 8090``. Standard library alone,
nothing of the client. The rooms: `server` (sockets, scripts), `service` (tokens, endpoints), `chat` and `primary` (the
two versions of the chat), `threads` (assistants too), `batches`, `checks`, `files`; `rules` (what is refused), `words`
(what is said), `calls` (of functions), `tools` (of the server), `patterns`; `faults`, `tls`, `wire` (HTTP).
"""

from __future__ import annotations

from .faults import FAULTS
from .server import Emulator, answer
from .wire import Answer, Request

__all__ = ["FAULTS", "Answer", "Emulator", "Request", "answer"]
