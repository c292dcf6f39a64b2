"""The endpoints that few programs need: v2 chat requests, batches, assistants and threads.

Each is one request and one type. Names, parameters and their order are those of the official library.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Iterable, List, Mapping, Sequence, Union
from urllib.parse import quote, urlencode

from . import models
from .config import did_you_mean
from .context import chat_completions_url_cvar, chat_url
from .fields import as_list, check_request, own_id, read_value, strings, without_none
from .json_text import decode_body
from .models.base import A, with_headers
from .models.chat import Payload
from .payload import chat_body, default_model, has_functions, names_model, path_id, to_json, v2_body
from .transport import Request, Transport

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .annotations import Options
    from .body import Response
    from .exceptions import GigaChatException
    from .streams import ThreadStream

    Result = Union[models.ChatCompletion, models.Embeddings, GigaChatException]

Message = Union[str, Mapping[str, Any]]


class Resource:
    """A group of endpoints; it holds the client's transport, and the client does not hold it."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.transport.config['base_url']}>"


def v2_chat_request(payload: Payload, config: Mapping[str, Any], stream: bool = False) -> Request:
    """Make a v2 chat request of a question, messages, or a whole request (POST /v2/chat/completions)."""
    body = v2_body(payload, config)
    if "tools" in body or len(body["messages"]) > 1:  # else there are neither functions nor results
        from .functions import prepare_request

        body = prepare_request(body)
    if not names_model(body):
        body["model"] = default_model(config)
    if stream:
        body["stream"] = True
    base_url, elsewhere = config["base_url"], chat_completions_url_cvar.get()
    url = v2_base(base_url) + "/chat/completions" if elsewhere is None else chat_url(base_url, elsewhere)
    return Request("POST", url, to_json(body), "paid", stream)


def v2_base(base_url: str) -> str:
    """Make v2's address of v1's, which lies beside it; one that ends in no version gets v2 below it.

    >>> v2_base("https://gigachat.devices.sberbank.ru/api/v1"), v2_base("http://localhost:8080")
    ('https://gigachat.devices.sberbank.ru/api/v2', 'http://localhost:8080/v2')
    """
    return re.sub(r"/v\d+$", "", base_url) + "/v2"


class BatchesResource(Resource):
    """Many requests at once, answered later; for companies that pay as they go."""

    def create(
        self,
        requests: Iterable[Payload] | Mapping[str, Payload],
        method: str = "chat_completions",
        **options: Unpack[Options],
    ) -> models.Batch:
        """Hand in requests to be answered later (POST /batches).

        With ``method="chat_completions"`` each is what ``chat()`` takes, with ``"embedder"`` a text, several, or a
        whole request. A mapping names them; those of a list are named by their numbers, "0" and on.
        """
        if method not in ("chat_completions", "embedder"):
            raise ValueError(f'method is "chat_completions" or "embedder", not {method!r}')
        if isinstance(requests, Mapping) and ("messages" in requests or "input" in requests):
            raise TypeError("this is one request: give a list of requests, or a dict of them by names of yours")
        if not requests:
            raise ValueError("a batch needs requests")
        if isinstance(requests, Mapping):
            named = requests
        else:
            named = {str(i): one for i, one in enumerate(as_list(requests, "requests"))}
        make = self._chat_body if method == "chat_completions" else _embeddings_body
        items = [{"id": _text(name, "the name of a request"), "request": make(one)} for name, one in named.items()]
        body = b"".join(to_json(item) + b"\n" for item in items)
        url, content_type = _with_query("/batches", method=method), "application/octet-stream"
        request = Request("POST", url, body, "write", content_type=content_type)
        return self.transport.fetch(models.Batch, request, options)

    def get(self, batch_id: str, **options: Unpack[Options]) -> models.Batch:
        """Tell how far a batch is; ``output_file_id`` is there when it is completed (GET /batches?batch_id=)."""
        url = _with_query("/batches", batch_id=_text(batch_id, "batch_id"))
        response = self.transport.send(Request("GET", url), options)
        for batch in _batches(response):
            if batch.get("id", batch_id) == batch_id:
                return with_headers(models.Batch(batch), response.x_headers)
        raise response.error("no such batch", 404)

    def list(self, **options: Unpack[Options]) -> models.Batches:
        """List the batches of this account (GET /batches)."""
        response = self.transport.send(Request("GET", "/batches"), options)
        return with_headers(models.Batches(batches=_batches(response)), response.x_headers)

    def results(self, batch: str | Mapping[str, Any], **options: Unpack[Options]) -> dict[str, Result]:
        """Fetch the answers of a completed batch, by the names of their requests.

        ``batch`` is its id or a ``Batch``, whose news are fetched where it was not completed yet. A request that failed
        has an error in its place, of the class that its status would have raised. A batch that is still not completed
        is a ValueError.
        """
        done: Mapping[str, Any] = {"id": batch} if isinstance(batch, str) else batch
        if not done.get("output_file_id"):
            done = self.get(done.get("id", ""), **options)
        if not done.get("output_file_id"):
            raise ValueError(f"this batch has no results yet: its status is {done.get('status')!r}")
        url = f"/files/{path_id(done['output_file_id'], 'output_file_id')}/content"
        response = self.transport.send(Request("GET", url, make_headers=lambda: {"Accept": "*/*"}), options)
        kind = models.Embeddings if done.get("method") == "embedder" else models.ChatCompletion
        lines = [_batch_line(response, line) for line in response.content.split(b"\n") if line.strip()]
        return {str(line.get("id", i)): _batch_result(response, line, kind) for i, line in enumerate(lines)}

    def _chat_body(self, payload: Payload) -> dict[str, Any]:
        body = chat_body(payload, self.transport.config)
        if has_functions(body):
            from .functions import prepare_request

            body = prepare_request(body)
        return body


def _embeddings_body(payload: Any) -> dict[str, Any]:
    """Make a request for embeddings of a text, of several, or of a request."""
    body = dict(payload) if isinstance(payload, Mapping) else {"input": payload}
    for name in body.keys() - {"model", "input"}:
        raise TypeError(f"a request for embeddings has no field {name!r}{did_you_mean(name, ('model', 'input'))}")
    if not body.get("input"):
        raise ValueError("a request for embeddings needs an input: a text, or several")
    return {"model": "Embeddings", **body, "input": strings(body["input"], "input")}


def _batches(response: Response) -> List[Any]:
    """Read a list of batches in any of its forms: bare, in an object, or one batch alone."""
    found = response.json()
    if not isinstance(found, (dict, list)):
        raise response.error(f"the answer is a JSON {type(found).__name__} where batches were expected")
    if isinstance(found, dict):
        found = found.get("batches", found)
    found = found if isinstance(found, list) else [found]
    return [batch for batch in found if batch and isinstance(batch, dict)]


def _batch_line(response: Response, line: bytes) -> dict[str, Any]:
    try:
        value = decode_body(line)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return value
    raise response._replace(content=line).error("a line of the results is no JSON object")


def _batch_result(response: Response, line: Mapping[str, Any], kind: Any) -> Result:
    """Return the answer in a line of the results, or the error that it is."""
    if isinstance(line.get("result"), dict):
        answer: Result = with_headers(kind(line["result"]), response.x_headers)
        return answer
    error = line.get("error")
    error = error if isinstance(error, dict) else {"message": str(error)}
    status = error.get("status")
    return response._replace(content=to_json(error)).error(status_code=status if isinstance(status, int) else 500)


class AssistantsResource(Resource):
    """Models with instructions, files and functions, kept by the service."""

    def get(self, assistant_id: str | None = None, **options: Unpack[Options]) -> models.Assistants:
        """List the assistants, or one of them (GET /assistants)."""
        one = None if assistant_id is None else _text(assistant_id, "assistant_id")
        request = Request("GET", _with_query("/assistants", assistant_id=one))
        return self.transport.fetch(models.Assistants, request, options)

    def create(
        self,
        model: str,
        name: str,
        instructions: str | None = None,
        description: str | None = None,
        file_ids: Sequence[str] | None = None,
        functions: Sequence[Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> models.CreateAssistant:
        """Make an assistant (POST /assistants); ``metadata`` holds 16 pairs at most."""
        body = {"model": model, "name": name, "description": description, "instructions": instructions}
        return self._post("", _assistant(body, file_ids, functions, metadata), models.CreateAssistant, options)

    def update(
        self,
        assistant_id: str,
        name: str | None = None,
        description: str | None = None,
        instructions: str | None = None,
        file_ids: Sequence[str] | None = None,
        functions: Sequence[Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> models.Assistant:
        """Change what is given of an assistant (POST /assistants/modify)."""
        one = _text(assistant_id, "assistant_id")
        body = {"assistant_id": one, "name": name, "description": description, "instructions": instructions}
        return self._post("/modify", _assistant(body, file_ids, functions, metadata), models.Assistant, options)

    def delete_file(self, assistant_id: str, file_id: str, **options: Unpack[Options]) -> models.AssistantFileDelete:
        """Take a file from an assistant (POST /assistants/files/delete)."""
        body = {"assistant_id": _text(assistant_id, "assistant_id"), "file_id": _text(file_id, "file_id")}
        return self._post("/files/delete", body, models.AssistantFileDelete, options)

    def delete(self, assistant_id: str, **options: Unpack[Options]) -> models.AssistantDelete:
        """Delete an assistant (POST /assistants/delete)."""
        body = {"assistant_id": _text(assistant_id, "assistant_id")}
        return self._post("/delete", body, models.AssistantDelete, options)

    def _post(self, path: str, body: Mapping[str, Any], kind: type[A], options: Options) -> A:
        return self.transport.fetch(kind, Request("POST", "/assistants" + path, to_json(body), "write"), options)


def _assistant(body: Mapping[str, Any], file_ids: Any, functions: Any, metadata: Any) -> dict[str, Any]:
    """Add to a body what is given; null would say that it is to be cleared."""
    if file_ids is not None:
        file_ids = strings(file_ids, "file_ids")
    return _given({**body, "file_ids": file_ids, "functions": functions, "metadata": metadata})


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Copy what is not None, and describe the Python functions in it."""
    body = {name: value for name, value in fields.items() if value is not None}
    if "functions" in body:
        from .functions import as_functions

        body["functions"] = as_functions(body["functions"])[0]
    return body


class ThreadsResource(Resource):
    """Dialogues kept by the service. What is not given is not sent; the options of a run are a ``ThreadRunOptions``."""

    def get_threads(
        self,
        assistants_ids: Sequence[str] | None = None,
        limit: int | None = None,
        before: int | None = None,
        **options: Unpack[Options],
    ) -> models.Threads:
        """List the threads (GET /threads)."""
        ids = None if assistants_ids is None else strings(assistants_ids, "assistants_ids")
        path = _with_query("/threads", assistants_ids=ids, limit=limit, before=before)
        return self.transport.fetch(models.Threads, Request("GET", path), options)

    list = get_threads

    def create_thread(self, **options: Unpack[Options]) -> str:
        """Begin a thread, and get its id (POST /threads)."""
        return self._post("", {}, models.Thread, options).id

    def retrieve(self, threads_ids: Sequence[str], **options: Unpack[Options]) -> models.Threads:
        """Describe these threads (POST /threads/retrieve)."""
        return self._post("/retrieve", {"threads_ids": strings(threads_ids, "threads_ids")}, models.Threads, options)

    def delete(self, thread_id: str, **options: Unpack[Options]) -> bool:
        """Delete a thread; True, or an error is raised (POST /threads/delete)."""
        body = to_json({"thread_id": _text(thread_id, "thread_id")})
        self.transport.send(Request("POST", "/threads/delete", body, "write"), options)
        return True

    def get_messages(
        self, thread_id: str, limit: int | None = None, before: int | None = None, **options: Unpack[Options]
    ) -> models.ThreadMessages:
        """List the messages of a thread (GET /threads/messages)."""
        path = _with_query("/threads/messages", thread_id=_text(thread_id, "thread_id"), limit=limit, before=before)
        return self.transport.fetch(models.ThreadMessages, Request("GET", path), options)

    def add_message(
        self, thread_id: str, message: Message, **options: Unpack[Options]
    ) -> models.ThreadMessagesResponse:
        """Add a message to a thread, a string being the user's (POST /threads/messages)."""
        return self.add_messages(_text(thread_id, "thread_id"), [message], **options)

    def add_messages(
        self, thread_id: str | None = None, messages: Iterable[Message] | None = None, **options: Unpack[Options]
    ) -> models.ThreadMessagesResponse:
        """Add messages to a thread, or to a new one (POST /threads/messages)."""
        body = self._dialogue(messages or [], thread_id)
        return self._post("/messages", body, models.ThreadMessagesResponse, options)

    def run(
        self,
        thread_id: str,
        assistant_id: str | None = None,
        thread_options: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        **more: Unpack[Options],
    ) -> models.ThreadRunResponse:
        """Have a thread answered; ``get_run()`` tells when it is (POST /threads/run).

        ``options`` is the official library's old name of ``thread_options``.
        """
        body = _run(thread_options or options, thread_id=_text(thread_id, "thread_id"), assistant_id=assistant_id)
        return self._post("/run", body, models.ThreadRunResponse, more)

    def get_run(self, thread_id: str, **options: Unpack[Options]) -> models.ThreadRunResult:
        """Tell how far a run is; its ``messages`` are there when it is ready (GET /threads/run)."""
        path = _with_query("/threads/run", thread_id=_text(thread_id, "thread_id"))
        return self.transport.fetch(models.ThreadRunResult, Request("GET", path), options)

    def run_stream(
        self,
        thread_id: str,
        assistant_id: str | None = None,
        thread_options: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        **more: Unpack[Options],
    ) -> ThreadStream:
        """Have a thread answered, and get the answer as it is written (POST /threads/run)."""
        body = _run(thread_options or options, thread_id=_text(thread_id, "thread_id"), assistant_id=assistant_id)
        return self._stream("/run", body, more)

    def run_messages(
        self,
        messages: Iterable[Message],
        thread_id: str | None = None,
        assistant_id: str | None = None,
        model: str | None = None,
        thread_options: Mapping[str, Any] | None = None,
        **options: Unpack[Options],
    ) -> models.ThreadCompletion:
        """Add messages to a thread, or to a new one, and get the answer (POST /threads/messages/run)."""
        body = _run(thread_options, **self._dialogue(messages, thread_id, assistant_id, model))
        return self._post("/messages/run", body, models.ThreadCompletion, options, True)

    def rerun_messages(
        self, thread_id: str, thread_options: Mapping[str, Any] | None = None, **options: Unpack[Options]
    ) -> models.ThreadCompletion:
        """Have the last answer of a thread made anew (POST /threads/messages/rerun)."""
        body = _run(thread_options, thread_id=_text(thread_id, "thread_id"))
        return self._post("/messages/rerun", body, models.ThreadCompletion, options, True)

    def run_messages_stream(
        self,
        messages: Iterable[Message],
        thread_id: str | None = None,
        assistant_id: str | None = None,
        model: str | None = None,
        thread_options: Mapping[str, Any] | None = None,
        update_interval: float | None = None,
        **options: Unpack[Options],
    ) -> ThreadStream:
        """Add messages to a thread, or to a new one, and get the answer as it is written."""
        dialogue = self._dialogue(messages, thread_id, assistant_id, model)
        return self._stream("/messages/run", _run(thread_options, **dialogue, update_interval=update_interval), options)

    def rerun_messages_stream(
        self,
        thread_id: str,
        thread_options: Mapping[str, Any] | None = None,
        update_interval: float | None = None,
        **options: Unpack[Options],
    ) -> ThreadStream:
        """Have the last answer of a thread made anew, and get it as it is written."""
        body = _run(thread_options, thread_id=_text(thread_id, "thread_id"), update_interval=update_interval)
        return self._stream("/messages/rerun", body, options)

    def _dialogue(
        self,
        messages: Iterable[Message],
        thread_id: str | None = None,
        assistant_id: str | None = None,
        model: str | None = None,
    ) -> dict[str, Any]:
        """Put messages and what they belong to together; a thread or an assistant has its own model."""
        given = {"thread_id": thread_id, "assistant_id": assistant_id}
        body = {name: _text(value, name) for name, value in given.items() if value is not None}
        asked = as_list(messages, "messages")
        asked = [{"role": "user", "content": one} if isinstance(one, str) else one for one in asked]
        checked = read_value(asked, models.Chat.model_fields["messages"], "messages")
        return {**(body or {"model": model or default_model(self.transport.config)}), "messages": checked}

    def _post(self, path: str, body: Mapping[str, Any], kind: type[A], options: Options, limited: bool = False) -> A:
        request = Request("POST", "/threads" + path, to_json(body), "write", limited=limited)
        return self.transport.fetch(kind, request, options)

    def _stream(self, path: str, body: Mapping[str, Any], options: Options) -> ThreadStream:
        from .streams import ThreadStream

        content = to_json({**body, "stream": True})
        request = Request("POST", "/threads" + path, content, "write", stream=True, limited=True)
        return ThreadStream(self.transport.send(request, options))


def _run(thread_options: Mapping[str, Any] | None, **fields: Any) -> dict[str, Any]:
    """Make the body of a run of its options and these fields."""
    given = without_none(thread_options or {})
    more = given.pop("additional_fields", {})
    return {**check_request(given, models.ThreadRunOptions, "thread_options"), **more, **without_none(fields)}


def _with_query(path: str, **query: Any) -> str:
    """Add what was given of a query to a path.

    >>> _with_query("/threads", assistants_ids=["a", "b&c"], limit=None)
    '/threads?assistants_ids=a&assistants_ids=b%26c'
    """
    given = urlencode(_given(query), True, quote_via=quote)
    return path + "?" + given if given else path


def _text(value: str, name: str) -> str:
    """Return a string that is not empty; an empty id would ask for everything."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name}: a string is needed, and not an empty one{own_id(value)}")
    return value
