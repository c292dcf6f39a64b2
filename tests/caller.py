"""A caller of the emulator that is no client of ours, and what shows the form of an answer."""

from __future__ import annotations

import http.client
import json
import uuid
from typing import Any

from gigachat_lite.emulator import Emulator


class Answer:
    """Keep status, headers in their order and body of an answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.pairs = response.status, response.getheaders()
        self.headers = {name.lower(): value for name, value in self.pairs}
        self.content = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.content.decode("utf-8"))


class Caller:
    """Speak to one emulator over one connection, with a token once `log_in()` was called."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator, self.token = emulator, ""
        self.connection = http.client.HTTPConnection(emulator.host, emulator.port, timeout=5)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers.setdefault("User-Agent", "tests")
        if self.token:
            headers.setdefault("Authorization", "Bearer " + self.token)
        if isinstance(body, (dict, list)):
            headers.setdefault("Content-Type", "application/json")
            body = json.dumps(body)
        self.connection.request(method, path, body, headers)
        return Answer(self.connection.getresponse())

    def oauth(self, body: str = "scope=GIGACHAT_API_PERS", **headers: str) -> Answer:
        given = {"Authorization": "Basic " + self.emulator.credentials, "RqUID": str(uuid.uuid4())}
        given.update({"Content-Type": "application/x-www-form-urlencoded"}, **headers)
        return self.ask("POST", "/api/v2/oauth", body, **{k: v for k, v in given.items() if v})

    def log_in(self) -> Caller:
        self.token = self.oauth().json["access_token"]
        return self


def shape(value: Any) -> Any:
    """Return keys in their order and types of values; of a list the form of its first item."""
    if isinstance(value, dict):
        return [(key, shape(item)) for key, item in value.items()]
    return [shape(value[0])] if isinstance(value, list) else type(value).__name__


def compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
