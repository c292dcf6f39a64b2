"""Types for annotations alone: this module is imported by type checkers, never at run time."""

from __future__ import annotations

import os
import ssl
from typing import Any, Coroutine, Iterable, Mapping, TypeVar

from typing_extensions import Protocol, TypedDict, Unpack, overload

from .models import Payload
from .sse import C, U, W

T = TypeVar("T")


class Settings(TypedDict, total=False):
    """What GigaChat() and load_config() take; None is "not given"."""

    env_file: bool | str | os.PathLike[str] | None
    environ: Mapping[str, str] | None
    credentials: str | None
    client_id: str | None
    client_secret: str | None
    scope: str | None
    model: str | None
    base_url: str | None
    auth_url: str | None
    access_token: str | None
    user: str | None
    password: str | None
    verify_ssl_certs: bool | None
    ca_bundle_file: str | os.PathLike[str] | None
    cert_file: str | os.PathLike[str] | None
    key_file: str | os.PathLike[str] | None
    key_file_password: str | None
    auth_client_cert: bool | None
    ssl_context: ssl.SSLContext | None
    timeout: float | tuple[float, float] | None
    deadline: float | None
    max_connections: int | None
    pool_timeout: float | None
    max_retries: int | None
    retry_backoff_factor: float | None
    retry_on_status_codes: Iterable[int] | None
    token_expiry_buffer_ms: float | None
    token_cache: bool | str | os.PathLike[str] | None
    profanity_check: bool | None
    flags: list[str] | None
    proxy: str | None
    trust_env: bool | None
    allow_http: bool | None


class Options(TypedDict, total=False):
    """What every call takes: further headers, another timeout, and a limit in seconds for the whole call."""

    headers: Mapping[str, str]
    timeout: float | tuple[float, float]
    deadline: float


class Opened(Protocol[C, W, U]):
    """What a method that streams returns."""

    def __next__(self) -> C: ...
    @property
    def completion(self) -> W: ...
    @property
    def usage(self) -> U: ...


class AsyncParse(Protocol[W]):
    """The asynchronous name of a method that parses, with both of its overloads."""

    @overload
    def __call__(
        self, payload: Payload, *, response_format: type[T], strict: bool = True, **options: Unpack[Options]
    ) -> Coroutine[Any, Any, tuple[W, T]]: ...

    @overload
    def __call__(
        self, payload: Payload, *, response_format: Any, strict: bool = True, **options: Unpack[Options]
    ) -> Coroutine[Any, Any, tuple[W, Any]]: ...
