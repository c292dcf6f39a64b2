"""The client: each endpoint is one request and one type.

A chat call runs from ``GigaChat.chat`` to transport.py: ``fetch()``, ``send()`` (takes a place of the limiter),
``_send()`` (retries) and ``_attempt()`` (one HTTP request), with a token of auth.py, over a connection of tls.py.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any, Callable, Generic, Iterable, Mapping, TypeVar, overload

from . import models
from .async_names import async_method, async_stream
from .config import load_config
from .context import chat_url, chat_url_cvar
from .fields import strings
from .models.base import with_headers
from .models.chat import ChatCompletion, Payload
from .payload import chat_body, default_model, has_functions, path_id, to_json, to_utf8
from .transport import Request, Transport
from .validators import host_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .aio_resources import AsyncAssistantsResource, AsyncBatchesResource, AsyncThreadsResource
    from .annotations import AsyncParse, Options, Settings
    from .files import FileForm
    from .functions import ChatRun, Given, Run
    from .resources import AssistantsResource, BatchesResource, ThreadsResource
    from .sse import Stream
    from .streams import ChatStream

P = TypeVar("P")
T = TypeVar("T")
G = TypeVar("G", bound="GigaChat")


class cached_property(Generic[T]):
    """An attribute made on first use, which can be set and deleted (functools.cached_property, also for 3.7)."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make, self._name, self.__doc__ = make, make.__name__, make.__doc__

    def __get__(self, client: Any, owner: Any = None) -> T:
        if client is None:
            return self  # type: ignore[return-value]
        value: T = vars(client).setdefault(self._name, self._make(client))  # of two threads, the first one's
        return value


def chat_request(payload: Payload, config: Mapping[str, Any], stream: bool = False) -> Request:
    """Make a v1 chat request of a question, messages, or a whole request (POST /chat/completions)."""
    body = chat_body(payload, config)
    if has_functions(body):
        from .functions import prepare_request

        body = prepare_request(body)
    if stream:
        body["stream"] = True
    path = chat_url_cvar.get()
    url = path if path == "/chat/completions" else chat_url(config["base_url"], path)
    return Request("POST", url, to_json(body), "paid", stream)


class ChatResource:
    """``giga.chat(payload)`` is v1; ``create``, ``stream`` and ``parse`` are v2, whose messages have content in parts.

    v2's requests may have strings where content or the name of a tool is due, ``reasoning`` and ``response_format``
    beside ``model_options``, and ``profanity_check`` for ``disable_filter``.
    """

    __name__, __qualname__ = "chat", "GigaChat.chat"  # as decorators expect of what they wrap

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def __call__(self, payload: Payload, **options: Unpack[Options]) -> ChatCompletion:
        """Ask, and return the whole answer (POST /chat/completions).

        ``payload`` is a question, a list of messages, or a whole request as a dict or ``Chat``.
        """
        return self.transport.fetch(ChatCompletion, chat_request(payload, self.transport.config), options)

    def create(self, payload: Payload, **options: Unpack[Options]) -> models.ChatCompletionResponse:
        """Ask v2, and return the whole answer (POST /v2/chat/completions)."""
        from .resources import v2_chat_request

        request = v2_chat_request(payload, self.transport.config)
        return self.transport.fetch(models.ChatCompletionResponse, request, options)

    def stream(self, payload: Payload, **options: Unpack[Options]) -> ChatStream:
        """Ask v2, and return the answer as it is written; errors before its beginning are raised here."""
        from .resources import v2_chat_request
        from .streams import ChatStream

        return ChatStream(self.transport.send(v2_chat_request(payload, self.transport.config, True), options))

    @overload
    def parse(
        self, payload: Payload, *, response_format: type[P], strict: bool = True, **options: Unpack[Options]
    ) -> tuple[models.ChatCompletionResponse, P]: ...

    @overload
    def parse(
        self, payload: Payload, *, response_format: Any, strict: bool = True, **options: Unpack[Options]
    ) -> tuple[models.ChatCompletionResponse, Any]: ...

    def parse(
        self, payload: Payload, *, response_format: Any, strict: bool = True, **options: Unpack[Options]
    ) -> tuple[models.ChatCompletionResponse, Any]:
        """Ask v2 for an answer of a type, and return the whole answer and its value, as ``chat_parse`` does with v1."""
        from .schemas import parse_completion, with_response_format

        completion = self.create(with_response_format(payload, response_format, strict), **options)
        return completion, parse_completion(completion, response_format)

    def run_functions(
        self,
        payload: Payload,
        functions: Iterable[Given] = (),
        max_rounds: int = 5,
        on_error: str = "tell",
        **options: Unpack[Options],
    ) -> ChatRun:
        """Ask v2, call the Python functions that the model wants called, and go on until it answers in words."""
        from .functions import run_functions

        run: ChatRun = run_functions(self.create, payload, functions, max_rounds, on_error, 2, **options)
        return run


class AsyncChatResource:
    """``giga.chat`` for asyncio: ``await giga.achat(payload)``."""

    def __init__(self, resource: ChatResource, transport: Transport) -> None:
        self.resource, self.transport = resource, transport

    __call__ = async_method(ChatResource.__call__, limited=True)
    create = async_method(ChatResource.create, limited=True)
    stream = async_stream(ChatResource.stream)
    parse: AsyncParse[models.ChatCompletionResponse] = async_method(  # type: ignore[assignment]
        ChatResource.parse, limited=True
    )
    run_functions = async_method(ChatResource.run_functions, limited=True)


class GigaChat:
    """A client of the GigaChat API.

    Settings come from the arguments, from ``GIGACHAT_*`` variables and from ``.env`` (see ``load_config``). One client
    serves any number of threads; it can be pickled, and used in forked processes. Every endpoint also takes
    ``headers=``, ``timeout=`` (seconds, or a pair for connecting and for each wait) and ``deadline=`` (seconds for the
    whole call, with all its attempts and the token it may have to fetch). The settings: credentials, client_id,
    client_secret, scope, model, base_url, auth_url, access_token, user, password, verify_ssl_certs, ca_bundle_file,
    cert_file, key_file, key_file_password, auth_client_cert, ssl_context, timeout, deadline, max_connections,
    pool_timeout, max_retries, retry_backoff_factor, retry_on_status_codes, token_expiry_buffer_ms, token_cache,
    profanity_check, flags, proxy, trust_env, allow_http; and env_file, environ.
    """

    def __init__(self, **settings: Unpack[Settings]) -> None:
        self.config: dict[str, Any] = load_config(**settings)
        self._start()

    def _start(self) -> None:
        self.transport = Transport(self.config)

    def __enter__(self: G) -> G:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self: G) -> G:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        host = host_of(self.config.get("base_url", ""))
        return f"GigaChat(host={host!r}, scope={self.config.get('scope')!r}, model={self.config.get('model')!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.config = state["config"]
        self._start()

    def close(self) -> None:
        """Close the connections that are not in use."""
        self.transport.close()

    async def aclose(self) -> None:
        """Close the connections that are not in use."""
        self.close()

    # Authorization

    @property
    def token(self) -> str | None:
        """The access token that is held, without fetching one; None where there is none yet."""
        token = self.transport.tokens.peek()
        return None if token is None else str(token.value)

    def get_token(self, *, deadline: float | None = None) -> models.AccessToken | None:
        """Return the access token, fetching one where needed; None for a client that uses its certificate instead."""
        token = self.transport.get_token(deadline)
        if token is None:
            return None
        expires = None if token.expires_at is None else int(token.expires_at * 1000)
        return with_headers(models.AccessToken(access_token=str(token.value), expires_at=expires), token.x_headers)

    # Chat

    def stream(self, payload: Payload, **options: Unpack[Options]) -> Stream:
        """Ask v1, and return the answer as it is written; errors before its beginning are raised here."""
        from .sse import Stream

        return Stream(self.transport.send(chat_request(payload, self.config, True), options))

    @overload
    def chat_parse(
        self, payload: Payload, *, response_format: type[P], strict: bool = True, **options: Unpack[Options]
    ) -> tuple[ChatCompletion, P]: ...

    @overload
    def chat_parse(
        self, payload: Payload, *, response_format: Any, strict: bool = True, **options: Unpack[Options]
    ) -> tuple[ChatCompletion, Any]: ...

    def chat_parse(
        self, payload: Payload, *, response_format: Any, strict: bool = True, **options: Unpack[Options]
    ) -> tuple[ChatCompletion, Any]:
        """Ask for a value of a type, and return the answer and the value.

        ``response_format`` is a dataclass, a TypedDict, a pydantic model or a JSON Schema. An answer that was cut off,
        filtered or is something else is an error of its own, with ``.completion``.
        """
        from .schemas import parse_completion, with_response_format

        completion = self.chat(with_response_format(payload, response_format, strict), **options)
        return completion, parse_completion(completion, response_format)

    def run_functions(
        self,
        payload: Payload,
        functions: Iterable[Given] = (),
        max_rounds: int = 5,
        on_error: str = "tell",
        **options: Unpack[Options],
    ) -> Run:
        """Ask, call the Python functions that the model wants called, and go on until it answers in words.

        ``on_error="raise"`` raises what a function raises, which otherwise is told to the model.
        """
        from .functions import run_functions

        run: Run = run_functions(self.chat, payload, functions, max_rounds, on_error, 1, **options)
        return run

    # The other endpoints

    def embeddings(
        self, texts: str | Iterable[str], model: str = "Embeddings", **options: Unpack[Options]
    ) -> models.Embeddings:
        """Turn texts into vectors, in their order (POST /embeddings)."""
        request = Request("POST", "/embeddings", to_json({"model": model, "input": strings(texts, "texts")}), "paid")
        return self.transport.fetch(models.Embeddings, request, options)

    def get_models(self, **options: Unpack[Options]) -> models.Models:
        """List the models that the service offers (GET /models)."""
        return self.transport.fetch(models.Models, Request("GET", "/models"), options)

    def get_model(self, model: str, **options: Unpack[Options]) -> models.Model:
        """Describe one model (GET /models/{model})."""
        return self.transport.fetch(models.Model, Request("GET", "/models/" + path_id(model, "model")), options)

    def tokens_count(
        self, input_: str | Iterable[str], model: str | None = None, **options: Unpack[Options]
    ) -> models.TokensCounts:
        """Count the tokens and characters of texts, in their order (POST /tokens/count)."""
        body = {"model": model or default_model(self.config), "input": strings(input_, "input_")}
        request = Request("POST", "/tokens/count", to_json(body))
        return self.transport.fetch(models.TokensCounts, request, options, list)

    def get_balance(self, **options: Unpack[Options]) -> models.Balance:
        """Tell how many prepaid tokens are left; an account that pays as it goes gets a 403 (GET /balance)."""
        return self.transport.fetch(models.Balance, Request("GET", "/balance"), options)

    def check_ai(self, text: str, model: str, **options: Unpack[Options]) -> models.AICheckResult:
        """Tell whether a Russian text, of 20 words at least, was written by a model (POST /ai/check).

        ``model`` is GigaCheckClassification or GigaCheckDetection; the latter also finds the places.
        """
        request = Request("POST", "/ai/check", to_json({"input": text, "model": model}), "paid")
        return self.transport.fetch(models.AICheckResult, request, options)

    def openapi_function_convert(self, openapi_function: str, **options: Unpack[Options]) -> models.OpenApiFunctions:
        """Turn the text of an OpenAPI document into functions for ``chat()`` (POST /functions/convert)."""
        request = Request("POST", "/functions/convert", to_utf8(openapi_function), content_type=None)
        return self.transport.fetch(models.OpenApiFunctions, request, options)

    def validate_function(self, function: Any, **options: Unpack[Options]) -> models.FunctionValidation:
        """Check a function's description, or that of a Python function; see ``errors`` (POST /functions/validate)."""
        if not isinstance(function, Mapping):
            from .functions import describe

            function = describe(function)
        request = Request("POST", "/functions/validate", to_json(function))
        return self.transport.fetch(models.FunctionValidation, request, options)

    # Files

    def upload_file(self, file: FileForm, purpose: str = "general", **options: Unpack[Options]) -> models.UploadedFile:
        """Upload a file, to be named in a message's ``attachments`` (POST /files).

        ``file`` is a path, bytes, a file opened with ``"rb"``, what a web framework calls an uploaded file, or
        (name, one of these), or (name, one of these, type). It is read into memory. Images may have 15 MB, audio 35,
        texts 40; more is a ValueError before the call.
        """
        from .files import encode_upload

        body, content_type = encode_upload(file, purpose)
        request = Request("POST", "/files", body, "write", make_headers=lambda: {"Content-Type": content_type})
        return self.transport.fetch(models.UploadedFile, request, options)

    def get_file(self, file: str, **options: Unpack[Options]) -> models.UploadedFile:
        """Describe an uploaded or generated file (GET /files/{file})."""
        return self.transport.fetch(models.UploadedFile, Request("GET", "/files/" + path_id(file, "file")), options)

    def get_files(self, **options: Unpack[Options]) -> models.UploadedFiles:
        """List the files that this account, and this X-Client-ID, has (GET /files)."""
        return self.transport.fetch(models.UploadedFiles, Request("GET", "/files"), options)

    def delete_file(self, file: str, **options: Unpack[Options]) -> models.DeletedFile:
        """Delete a file (POST /files/{file}/delete)."""
        request = Request("POST", f"/files/{path_id(file, 'file')}/delete", retry="write")
        return self.transport.fetch(models.DeletedFile, request, options)

    def get_image(self, file_id: str, **options: Unpack[Options]) -> models.Image:
        """Return a picture, its ``content`` in base64 (GET /files/{file_id}/content); ``save(path)`` writes it."""
        request = Request("GET", f"/files/{path_id(file_id, 'file_id')}/content", download=True)
        body = self.transport.send(request, options)
        content = base64.b64encode(body.read()).decode("ascii")
        return with_headers(models.Image(content=content), body.response.x_headers)

    def download_file(self, file_id: str, path: str | os.PathLike[str], **options: Unpack[Options]) -> int:
        """Write a file's content to disk as it arrives, and return its size (GET /files/{file_id}/content).

        It takes the place of ``path`` when it is whole; whatever goes wrong before leaves what was there.
        """
        from .files import replacing

        request = Request("GET", f"/files/{path_id(file_id, 'file_id')}/content", download=True)
        with replacing(path) as file:
            return sum(file.write(piece) for piece in self.transport.send(request, options))

    # Groups of endpoints, made on first use

    @cached_property
    def chat(self) -> ChatResource:
        """Ask, and return the whole answer: ``chat(payload)``; ``chat.create``, ``.stream`` and ``.parse`` are v2."""
        return ChatResource(self.transport)

    @cached_property
    def batches(self) -> BatchesResource:
        """Many requests at once, answered later."""
        from .resources import BatchesResource

        return BatchesResource(self.transport)

    @cached_property
    def assistants(self) -> AssistantsResource:
        """Models with instructions, files and functions, kept by the service."""
        from .resources import AssistantsResource

        return AssistantsResource(self.transport)

    @cached_property
    def threads(self) -> ThreadsResource:
        """Conversations kept by the service."""
        from .resources import ThreadsResource

        return ThreadsResource(self.transport)

    @cached_property
    def achat(self) -> AsyncChatResource:
        """``chat`` for asyncio: ``await achat(payload)``; ``achat.create``, ``.stream`` and ``.parse`` are v2."""
        resource = AsyncChatResource(self.chat, self.transport)

        async def achat(payload: Payload, **options: Unpack[Options]) -> ChatCompletion:
            """Ask, and return the whole answer (POST /chat/completions)."""
            return await resource(payload, **options)

        for name in ("create", "stream", "parse", "run_functions"):
            setattr(achat, name, getattr(resource, name))
        return achat  # type: ignore[return-value] # a function, for decorators to see that it is a coroutine's

    @cached_property
    def a_batches(self) -> AsyncBatchesResource:
        """``batches`` for asyncio."""
        from .aio_resources import AsyncBatchesResource

        return AsyncBatchesResource(self.batches, self.transport)

    @cached_property
    def a_assistants(self) -> AsyncAssistantsResource:
        """``assistants`` for asyncio."""
        from .aio_resources import AsyncAssistantsResource

        return AsyncAssistantsResource(self.assistants, self.transport)

    @cached_property
    def a_threads(self) -> AsyncThreadsResource:
        """``threads`` for asyncio."""
        from .aio_resources import AsyncThreadsResource

        return AsyncThreadsResource(self.threads, self.transport)

    aget_token = async_method(get_token)
    astream = async_stream(stream)
    achat_parse: AsyncParse[ChatCompletion] = async_method(chat_parse, limited=True)  # type: ignore[assignment]
    arun_functions = async_method(run_functions, limited=True)
    aembeddings = async_method(embeddings, limited=True)
    aget_models = async_method(get_models)
    aget_model = async_method(get_model)
    atokens_count = async_method(tokens_count)
    aget_balance = async_method(get_balance)
    acheck_ai = async_method(check_ai, limited=True)
    aopenapi_function_convert = async_method(openapi_function_convert)
    avalidate_function = async_method(validate_function)
    aupload_file = async_method(upload_file)
    aget_file = async_method(get_file)
    aget_files = async_method(get_files)
    adelete_file = async_method(delete_file)
    aget_image = async_method(get_image)
    adownload_file = async_method(download_file)


GigaChatSyncClient = GigaChatAsyncClient = GigaChat  # the official library's other names
