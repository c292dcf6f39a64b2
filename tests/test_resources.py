"""Hold v2 chat, batches, assistants, threads and the small endpoints to the wire, and their streams to their word."""
from __future__ import annotations

import gc
import json
import re
import weakref

import pytest

from clients import new_client
from gigachat_lite import (
    GigaChat,
    ModelNotSpecifiedError,
    NotFoundError,
    RateLimitError,
    ResponseError,
    ServerError,
    StreamError,
    TransportError,
    UnprocessableEntityError,
    models,
)
from servers import CHAT_BODY, CHAT_TEXT, raw, reply, sse, until
from streaming import held

IDS = {"X-Request-Id": "r-1", "X-Session-Id": "s-1"}

# Recorded answers and streams, byte for byte where they are bytes

V2_BODY = (
    '{"model":"GigaChat-3-Ultra:32.3.18.5","created_at":1780321859,"messages":[{"role":"assistant","content":[{"text":'
    '"Привет!"}]}],"finish_reason":"stop","usage":{"input_tokens":24,"input_tokens_details":{"prompt_tokens":24,'
    '"cached_tokens":0},"output_tokens":21,"total_tokens":45}}'
)
V2_CALL = (
    '{"model":"GigaChat-3-Lightning","created_at":1790250876,"messages":[{"role":"assistant","tool_state_id":'
    '"01a0d344-7edd-73ff-8a9a-241b10097774","content":[{"function_call":{"id":"9bb697cc-c55f-4e76-aeba-39bbd3ef26fc",'
    '"name":"getWeather","arguments":{"city":"Москва"}}}]}],"finish_reason":"function_call","usage":{"input_tokens":57,'
    '"input_tokens_details":{"prompt_tokens":57,"cached_tokens":0},"output_tokens":18,"total_tokens":75}}'
)
V2_STREAM = (
    b'event: response.message.delta\n'
    b'data: {"model":"GigaChat-3-Ultra:32.3.18.5","created_at":1780321864,"messages":[{"role":"assistant","content":'
    b'[{"text":"1, 2, 3"}]}]}\n\n'
    b'event: response.message.done\n'
    b'data: {"model":"GigaChat-3-Ultra:32.3.18.5","created_at":1780321864,"finish_reason":"stop","usage":{'
    b'"input_tokens":19,"input_tokens_details":{"prompt_tokens":19,"cached_tokens":0},"output_tokens":8,"total_tokens":27}}\n\n'
)
SEARCH = (
    'event: response.tool.in_progress\n'
    'data: {"model":"GigaChat-3-Lightning","created_at":1790250877,"messages":[{"role":"assistant","content":'
    '[{"tool_execution":{"id":"","name":"web_search"}}]}]}\n\n'
    'event: response.tool.completed\n'
    'data: {"model":"GigaChat-3-Lightning","created_at":1790250878,"messages":[{"role":"assistant","content":'
    '[{"tool_execution":{"id":"","name":"web_search","status":"success"}}]}]}\n\n'
    'event: response.message.delta\n'
    'data: {"model":"GigaChat-3-Lightning","created_at":1790250878,"messages":[{"role":"assistant","content":'
    '[{"inline_data":{"images":[],"sources":{"1":{"url":"https://example.com/","title":"Пример"}}}}]}]}\n\n'
    'event: response.message.delta\n'
    'data: {"model":"GigaChat-3-Lightning","created_at":1790250878,"messages":[{"role":"assistant","content":'
    '[{"text":"Солнечно [sources=[1]], "}]}]}\n\n'
    'event: response.message.delta\n'
    'data: {"model":"GigaChat-3-Lightning","created_at":1790250878,"messages":[{"role":"assistant","content":'
    '[{"text":"плюс\u2028пять 😀"}]}]}\n\n'
    'event: response.message.done\n'
    'data: {"model":"GigaChat-3-Lightning","created_at":1790250878,"messages":[{"role":"assistant","tool_state_id":'
    '"01a0d344-8691-7212-b9ed-bcc4d8a9a561"}],"finish_reason":"stop","usage":{"input_tokens":3678,'
    '"input_tokens_details":{"prompt_tokens":3678,"cached_tokens":4071},"output_tokens":91,"total_tokens":3769}}\n\n'
).encode()
SEARCH_TEXTS = ("Солнечно [sources=[1]], ", "плюс\u2028пять 😀")
SEARCH_EVENTS = [event + b"\n\n" for event in SEARCH.split(b"\n\n")[:-1]]
THREAD_STREAM = (
    'data: {"choices":[{"delta":{"content":"Здравствуйте! Я GigaChat, генеративная языковая модель. Готова ответить на '
    'ваши","role":"assistant"},"index":0}],"created":1715684408,"model":"GigaChat-Pro:2.2.25.3","object":'
    '"threads.messages.run","usage":{"prompt_tokens":64,"completion_tokens":23,"total_tokens":87},"thread_id":'
    '"9b1cc6d9-0eeb-46de-b01f-6f74c9a82df7","message_id":"fd753d3f-f1f5-498f-b5dd-da380607d470"}\n\n'
    'data: {"choices":[{"delta":{"content":" вопросы. Чем могу вам помочь?"},"index":0,"finish_reason":"stop"}],'
    '"created":1715684409,"model":"GigaChat-Pro:2.2.25.3","object":"threads.messages.run","usage":{"prompt_tokens":0,'
    '"completion_tokens":8,"total_tokens":8},"thread_id":"9b1cc6d9-0eeb-46de-b01f-6f74c9a82df7","message_id":'
    '"fd753d3f-f1f5-498f-b5dd-da380607d470"}\n\n'
    'data: [DONE]\n\n'
).encode()
THREAD_TEXT = ("Здравствуйте! Я GigaChat, генеративная языковая модель. Готова ответить на ваши вопросы. "
               "Чем могу вам помочь?")

USER = [{"role": "user", "content": "Привет"}]
PARTS = [{"role": "user", "content": [{"text": "Привет"}]}]
FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
BATCH = {"id": "b-1", "method": "chat_completions", "request_counts": {"total": 2}, "status": "created",
         "created_at": 1739784663, "updated_at": 1739784663}
THREAD = {"id": "t-1", "model": "GigaChat", "created_at": 1, "updated_at": 2, "status": "ready", "run_lock": False}
RUN = {"status": "in_progress", "thread_id": "t-1", "created_at": 1715684408}
ANSWERED = {"object": "threads.messages.run", "model": "GigaChat-Pro", "thread_id": "t-1", "message_id": "m-1",
            "created": 1, "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
            "message": {"role": "assistant", "content": "Да"}, "finish_reason": "stop"}
ASSISTANT = {"assistant_id": "a-1", "model": "GigaChat", "name": "Имя", "created_at": 1, "updated_at": 2}
OPTIONS = {"temperature": 0.5, "limit": None, "functions": [FUNCTION]}
RUN_OPTIONS = {"temperature": 0.5, "functions": [FUNCTION]}

# name: (call, kind of sending again, method, path, body, answer, its class)
CALLS = {
    "get_balance": (lambda g, **o: g.get_balance(**o), "read", "GET", "/v1/balance", None,
                    {"balance": [{"usage": "GigaChat", "value": 900000}]}, "Balance"),
    "check_ai": (lambda g, **o: g.check_ai("Текст", "GigaCheckDetection", **o), "paid", "POST", "/v1/ai/check",
                 {"input": "Текст", "model": "GigaCheckDetection"},
                 {"category": "mixed", "characters": 533, "tokens": 224, "ai_intervals": [[1, 262], [415, 533]]},
                 "AICheckResult"),
    "validate_function": (lambda g, **o: g.validate_function(FUNCTION, **o), "read", "POST", "/v1/functions/validate",
                          FUNCTION, {"status": 200, "message": "Incorrect function syntax",
                                     "json_ai_rules_version": "1.0.5", "errors": [
                                         {"description": "name is required", "schema_location": "(root)"}]},
                          "FunctionValidation"),
    "chat.create": (lambda g, **o: g.chat.create("Привет", **o), "paid", "POST", "/v2/chat/completions",
                    {"messages": PARTS, "model": "GigaChat"}, V2_BODY, "ChatCompletionResponse"),
    "batches.create": (lambda g, **o: g.batches.create({"x": "Привет"}, **o), "write", "POST",
                       "/v1/batches?method=chat_completions",
                       {"id": "x", "request": {"messages": USER, "model": "GigaChat"}}, BATCH, "Batch"),
    "batches.get": (lambda g, **o: g.batches.get("b-1", **o), "read", "GET", "/v1/batches?batch_id=b-1", None,
                    {"batches": [BATCH]}, "Batch"),
    "batches.list": (lambda g, **o: g.batches.list(**o), "read", "GET", "/v1/batches", None, {"batches": [BATCH]},
                     "Batches"),
    "assistants.get": (lambda g, **o: g.assistants.get(**o), "read", "GET", "/v1/assistants", None,
                       {"data": [ASSISTANT]}, "Assistants"),
    "assistants.get one": (lambda g, **o: g.assistants.get("a 1", **o), "read", "GET",
                           "/v1/assistants?assistant_id=a%201", None, {"data": [ASSISTANT]}, "Assistants"),
    "assistants.create": (lambda g, **o: g.assistants.create("GigaChat", "Имя", "Как", "Что", ["f-1"], [FUNCTION],
                                                             {"k": "v"}, **o), "write", "POST", "/v1/assistants",
                          {"model": "GigaChat", "name": "Имя", "description": "Что", "instructions": "Как",
                           "metadata": {"k": "v"}, "file_ids": ["f-1"], "functions": [FUNCTION]},
                          {"assistant_id": "111", "created_at": 1715684019}, "CreateAssistant"),
    "assistants.update": (lambda g, **o: g.assistants.update("a-1", description="", **o), "write", "POST",
                          "/v1/assistants/modify", {"assistant_id": "a-1", "description": ""}, ASSISTANT, "Assistant"),
    "assistants.delete": (lambda g, **o: g.assistants.delete("a-1", **o), "write", "POST", "/v1/assistants/delete",
                          {"assistant_id": "a-1"}, {"assistant_id": "a-1", "deleted": True}, "AssistantDelete"),
    "assistants.delete_file": (lambda g, **o: g.assistants.delete_file("a-1", "f-1", **o), "write", "POST",
                               "/v1/assistants/files/delete", {"assistant_id": "a-1", "file_id": "f-1"},
                               {"file_id": "f-1", "deleted": True}, "AssistantFileDelete"),
    "threads.get_threads": (lambda g, **o: g.threads.get_threads(["a", "b&c"], 2, 3, **o), "read", "GET",
                            "/v1/threads?assistants_ids=a&assistants_ids=b%26c&limit=2&before=3", None,
                            {"threads": [THREAD]}, "Threads"),
    "threads.list": (lambda g, **o: g.threads.list(**o), "read", "GET", "/v1/threads", None, {"threads": []},
                     "Threads"),
    "threads.retrieve": (lambda g, **o: g.threads.retrieve(["t-1"], **o), "write", "POST", "/v1/threads/retrieve",
                         {"threads_ids": ["t-1"]}, {"threads": [THREAD]}, "Threads"),
    "threads.get_messages": (lambda g, **o: g.threads.get_messages("t-1", 5, **o), "read", "GET",
                             "/v1/threads/messages?thread_id=t-1&limit=5", None,
                             {"thread_id": "t-1", "messages": [{"message_id": "m", "role": "user", "content": "x",
                                                                "created_at": 1}]}, "ThreadMessages"),
    "threads.add_message": (lambda g, **o: g.threads.add_message("t-1", "Привет", **o), "write", "POST",
                            "/v1/threads/messages", {"thread_id": "t-1", "messages": USER},
                            {"thread_id": "t-1", "messages": [{"created_at": 1, "message_id": "m"}]},
                            "ThreadMessagesResponse"),
    "threads.add_messages": (lambda g, **o: g.threads.add_messages(None, [USER[0]], **o), "write", "POST",
                             "/v1/threads/messages", {"model": "GigaChat", "messages": USER},
                             {"thread_id": "t-1", "messages": []}, "ThreadMessagesResponse"),
    "threads.run": (lambda g, **o: g.threads.run("t-1", "a-1", OPTIONS, **o), "write", "POST", "/v1/threads/run",
                    {**RUN_OPTIONS, "thread_id": "t-1", "assistant_id": "a-1"}, RUN, "ThreadRunResponse"),
    "threads.get_run": (lambda g, **o: g.threads.get_run("t-1", **o), "read", "GET", "/v1/threads/run?thread_id=t-1",
                        None, {"status": "ready", "thread_id": "t-1", "updated_at": 1, "model": "m", "messages": []},
                        "ThreadRunResult"),
    "threads.run_messages": (lambda g, **o: g.threads.run_messages(["Привет"], "t-1", None, "GigaChat-2", **o),
                             "write", "POST", "/v1/threads/messages/run", {"thread_id": "t-1", "messages": USER},
                             ANSWERED, "ThreadCompletion"),
    "threads.rerun_messages": (lambda g, **o: g.threads.rerun_messages("t-1", OPTIONS, **o), "write", "POST",
                               "/v1/threads/messages/rerun", {**RUN_OPTIONS, "thread_id": "t-1"}, ANSWERED,
                               "ThreadCompletion"),
}
STREAMS = {
    "chat.stream": (lambda g, **o: g.chat.stream("Привет", **o), "/v2/chat/completions",
                    {"messages": PARTS, "model": "GigaChat", "stream": True}, SEARCH, "paid"),
    "threads.run_stream": (lambda g, **o: g.threads.run_stream("t-1", "a-1", OPTIONS, **o), "/v1/threads/run",
                           {**RUN_OPTIONS, "thread_id": "t-1", "assistant_id": "a-1", "stream": True}, THREAD_STREAM,
                           "write"),
    "threads.run_messages_stream": (
        lambda g, **o: g.threads.run_messages_stream(["Привет"], None, "a-1", update_interval=1, **o),
        "/v1/threads/messages/run", {"assistant_id": "a-1", "messages": USER, "update_interval": 1, "stream": True},
        THREAD_STREAM, "write"),
    "threads.rerun_messages_stream": (
        lambda g, **o: g.threads.rerun_messages_stream("t-1", None, 2, **o), "/v1/threads/messages/rerun",
        {"thread_id": "t-1", "update_interval": 2, "stream": True}, THREAD_STREAM, "write"),
}


def client(running, **settings):
    """Make a client of a server, whose pauses take no time."""
    giga = new_client(**{"base_url": running.url + "/api/v1", "access_token": "t0ken", "timeout": 5, **settings})
    giga.transport.sleep = lambda seconds: None
    return giga


def compact(body):
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


# ---- Each endpoint


@pytest.mark.parametrize("name", CALLS)
def test_each_call_is_one_request_and_one_type(name, server):
    ask, _, method, path, body, answer, cls = CALLS[name]
    running = server([reply(body=answer, headers=IDS)])
    result = ask(client(running), headers={"X-Own": "1"})
    seen, = running.requests
    assert (seen.method, seen.path, seen.headers["Authorization"]) == (method, "/api" + path, "Bearer t0ken")
    assert seen.headers["X-Own"] == "1" and seen.headers["Accept"] == "application/json"
    if name == "batches.create":
        assert seen.body == compact(body) + b"\n" and seen.headers["Content-Type"] == "application/octet-stream"
    elif body is not None:
        assert json.loads(seen.body.decode()) == body and seen.headers["Content-Type"] == "application/json"
    else:
        assert seen.body == b"" and seen.headers["Content-Type"] is None
    wanted = json.loads(answer) if isinstance(answer, str) else answer
    assert type(result) is getattr(models, cls)
    assert result == (wanted["batches"][0] if name == "batches.get" else wanted)
    assert result.x_headers == {"x-request-id": "r-1", "x-session-id": "s-1", "x-client-id": None}


SENT_AGAIN = {"read": (504, 500, 503), "paid": (500, 503), "write": (503,)}


@pytest.mark.parametrize("name", [*CALLS, *STREAMS])
def test_each_call_is_sent_again_as_its_cost_allows(name, server):
    ask, kind = CALLS[name][:2] if name in CALLS else (STREAMS[name][0], STREAMS[name][4])
    good = sse(STREAMS[name][3]) if name in STREAMS else reply(body=CALLS[name][5])
    script = {status: [reply(status), good] if status in SENT_AGAIN[kind] else [reply(status)]
              for status in (504, 500, 503)}
    running = server([answer for answers in script.values() for answer in answers])
    giga, seen = client(running), 0
    for status, answers in script.items():
        if status in SENT_AGAIN[kind]:
            assert ask(giga) is not None
        else:
            with pytest.raises(ServerError):
                ask(giga)
        seen += len(answers)
        assert len(running.requests) == seen


def test_a_thread_is_known_by_its_id(server):
    running = server([reply(body=THREAD), reply(), reply(404, {"status": 404, "message": "No such thread"})])
    giga = client(running)
    assert giga.threads.create_thread() == "t-1" and giga.threads.delete("t-1") is True
    with pytest.raises(NotFoundError, match="No such thread"):
        giga.threads.delete("t-2")
    assert [(one.method, one.path, one.body) for one in running.requests] == [
        ("POST", "/api/v1/threads", b"{}"), ("POST", "/api/v1/threads/delete", b'{"thread_id":"t-1"}'),
        ("POST", "/api/v1/threads/delete", b'{"thread_id":"t-2"}')]


def test_an_openapi_text_is_sent_as_it_is(server):
    running = server(reply(body={"functions": [FUNCTION]}))
    giga = client(running)
    assert giga.openapi_function_convert("openapi: 3.0.0 # привет \ud800").functions[0].name == "f"
    seen, = running.requests
    assert (seen.path, seen.headers["Content-Type"]) == ("/api/v1/functions/convert", None)
    assert seen.body.decode() == "openapi: 3.0.0 # привет \ufffd"
    with pytest.raises(TypeError):
        giga.openapi_function_convert({"openapi": "3.0.0"})


def test_a_python_function_is_described_before_it_is_checked(server):
    def weather(city: str) -> dict:
        """Tell the weather."""

    running = server(reply(body={"status": 200, "message": "Function is valid", "warnings": []}))
    assert client(running).validate_function(weather).message == "Function is valid"
    sent = running.requests[0].json
    assert (sent["name"], sent["description"]) == ("weather", "Tell the weather.")
    assert sent["parameters"]["properties"]["city"]["type"] == "string"


def test_misspelt_and_empty_arguments_are_refused(server):
    running = server([])
    giga = client(running)
    for wrong in (
        lambda: giga.threads.run_messages(["x"], thread_options={"temprature": 1}),
        lambda: giga.chat.create("x", timeot=1),
        lambda: giga.threads.run_messages("x", "t-1"), lambda: giga.threads.add_messages("t-1", {"role": "user"}),
        lambda: giga.batches.create("x"), lambda: giga.batches.create(["x"], method="chat"),
        lambda: giga.batches.create({"": "x"}), lambda: giga.batches.get(""), lambda: giga.threads.get_run(" "),
        lambda: giga.threads.get_messages(None), lambda: giga.chat.create({"messages": USER, "temprature": 1}),
        lambda: giga.batches.create({"messages": USER}), lambda: giga.batches.create([]),
        lambda: giga.batches.create([None], "embedder"), lambda: giga.batches.create([{"inputs": "x"}], "embedder"),
        lambda: giga.assistants.delete(None), lambda: giga.assistants.update(None, "x"),
        lambda: giga.assistants.get(""),
        lambda: giga.assistants.delete_file("a", ""), lambda: giga.threads.delete(""), lambda: giga.threads.run(None),
        lambda: giga.threads.rerun_messages(None), lambda: giga.threads.run_messages(["x"], ""),
        lambda: giga.threads.add_messages("t", [{"role": "user", "contnet": "x"}]),
        lambda: giga.threads.add_messages("t", [5]), lambda: giga.threads.add_message(None, "x"),
        lambda: giga.chat.create({"messages": USER, "tools": [{"functions": [len]}]}),
        lambda: giga.chat.create({"messages": USER, "tools": [len]}),
        lambda: giga.chat.create({"messages": USER, "model_options": [1]}),
        lambda: giga.chat.create(5), lambda: giga.chat.parse(5, response_format=dict), lambda: giga.batches.results({}),
    ):
        with pytest.raises((TypeError, ValueError)):
            wrong()
    assert not running.requests


def test_a_run_takes_options_by_their_old_name(server):
    running = server([reply(body=RUN), sse(THREAD_STREAM)])
    giga = client(running)
    giga.threads.run("t-1", options={"top_p": 1})
    list(giga.threads.run_stream("t-1", options=models.ThreadRunOptions(top_p=1)))
    assert [one.json for one in running.requests] == [
        {"top_p": 1, "thread_id": "t-1"}, {"top_p": 1, "thread_id": "t-1", "stream": True}]


def test_a_group_of_endpoints_outlives_its_client(server):
    running = server([reply(body=CHAT_BODY), reply(body={"threads": []})])
    giga = GigaChat(base_url=running.url, access_token="t", env_file=False, environ={}, trust_env=False)
    chat, threads, gone, transport_gone = giga.chat, giga.threads, weakref.ref(giga), weakref.ref(giga.transport)
    gc.disable()
    try:
        del giga
        assert gone() is None  # by counting references alone
        assert chat("x").choices[0].message.content == CHAT_TEXT and threads.list() == {"threads": []}
        threads.transport.close()
        del chat, threads
        assert transport_gone() is None
    finally:
        gc.enable()


# ---- v2 requests


@pytest.mark.parametrize("base, path", [
    ("/api/v1", "/api/v2/chat/completions"), ("/v1", "/v2/chat/completions"), ("/v3/", "/v2/chat/completions"),
    ("", "/v2/chat/completions"), ("/gigachat", "/gigachat/v2/chat/completions"),
    ("/v1/x", "/v1/x/v2/chat/completions"), ("/api/v1/chat/completions", "/api/v2/chat/completions")])
def test_v2_lies_beside_v1(base, path, server):
    running = server([reply(body=V2_BODY), sse(V2_STREAM)])
    giga = client(running, base_url=running.url + base)
    giga.chat.create("x")
    list(giga.chat.stream("x"))
    assert [one.path for one in running.requests] == [path] * 2
    assert {one.headers["Authorization"] for one in running.requests} == {"Bearer t0ken"}


@pytest.mark.parametrize("settings, payload, more", [
    ({}, {"messages": PARTS, "assistant_id": "a"}, {"assistant_id": "a"}),
    ({}, {"messages": PARTS, "storage": {"thread_id": "t"}}, {"storage": {"thread_id": "t"}}),
    ({}, {"messages": PARTS, "storage": True}, {"storage": {}, "model": "GigaChat"}),
    ({"model": "GigaChat-2"}, "Привет", {"model": "GigaChat-2"}),
    ({"profanity_check": True, "flags": ["x"]}, "Привет",
     {"model": "GigaChat", "disable_filter": False, "flags": ["x"]}),
    ({}, {"messages": USER, "tools": ["web_search"], "stream": False}, {"tools": [{"web_search": {}}],
                                                                       "model": "GigaChat"}),
])
def test_settings_fill_a_v2_request(settings, payload, more, server):
    running = server([reply(body=V2_BODY), sse(V2_STREAM)])
    giga = client(running, **settings)
    giga.chat.create(payload)
    list(giga.chat.stream(payload))
    assert [one.json for one in running.requests] == [
        {"messages": PARTS, **more}, {"messages": PARTS, **more, "stream": True}]


def test_the_new_host_wants_a_model_for_v2_too(server, certs, resolve):
    resolve("api.giga.chat")
    running = server(reply(body=V2_BODY), context=certs.context("names"))
    giga = new_client(base_url=running.at("api.giga.chat") + "/v1", access_token="t", ca_bundle_file=str(certs.ca_pem))
    with pytest.raises(ModelNotSpecifiedError):
        giga.chat.create("x")
    giga.chat.create({"messages": PARTS, "assistant_id": "a"})
    assert [one.path for one in running.requests] == ["/v2/chat/completions"]


def test_v2_renews_tokens_and_explains_errors(api):
    running = api([reply(401), reply(body=V2_CALL), reply(404, {"status": 404, "message": "No such model"})])
    giga = client(running, access_token=None, credentials="YTpi", auth_url=running.auth_url)
    answer = giga.chat.create("x")
    assert answer.messages[0].content[0].function_call.arguments == {"city": "Москва"}
    assert [one.headers["Authorization"] for one in running.calls] == ["Bearer token-1", "Bearer token-2"]
    with pytest.raises(NotFoundError, match=r"get_models\(\) lists them"):
        giga.chat.stream("x")
    assert len(running.calls) == 3


@pytest.mark.parametrize("version", [1, 2])
def test_an_answer_is_read_as_a_type(version, server):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    answer = json.loads(CHAT_BODY.decode() if version == 1 else V2_BODY)
    (answer["choices"][0]["message"] if version == 1 else answer["messages"][0]["content"][0]).update(
        {"content" if version == 1 else "text": '```json\n{"n": 3}\n```'})
    running = server(reply(body=answer))
    giga = client(running)
    parse = giga.chat_parse if version == 1 else giga.chat.parse
    for payload in ("x", [{"role": "user", "content": "x"}], {"messages": [{"role": "user", "content": "x"}]}):
        completion, value = parse(payload, response_format=schema, strict=False)
        assert value == {"n": 3} and completion == answer
        sent = running.requests[-1].json
        wanted = sent["response_format"] if version == 1 else sent["model_options"]["response_format"]
        assert wanted["type"] == "json_schema" and wanted["schema"] == schema and not wanted.get("strict")
    parse({"messages": USER, **({} if version == 1 else {"model_options": {"top_p": 1}})}, response_format=schema)
    assert version == 1 or set(running.requests[-1].json["model_options"]) == {"top_p", "response_format"}


def weather(city: str):
    """Tell the weather."""


RESULT = {"role": "tool", "content": [{"function_result": {"name": "f", "result": {}}}]}
ASKED = {"role": "assistant", "content": [{"function_call": {"name": "f", "arguments": {}}}]}


def test_v1_leaves_the_model_to_a_thread(server):
    running = server(reply(body=CHAT_BODY))
    client(running).chat({"messages": USER, "storage": {"is_stateful": True, "thread_id": "t"}})
    assert "model" not in running.requests[0].json


@pytest.mark.parametrize("version", [1, 2])
def test_functions_are_described_and_their_history_checked(version, server):
    running = server(reply(body=CHAT_BODY if version == 1 else V2_BODY))
    giga = client(running)
    ask = giga.chat if version == 1 else giga.chat.create
    functions = [FUNCTION, weather]
    tools = ["web_search", {"functions": {"specifications": functions}}]
    ask({"messages": USER, **({"functions": functions} if version == 1 else {"tools": tools})})
    sent = running.requests[0].json
    described = sent["functions"] if version == 1 else sent["tools"][1]["functions"]["specifications"]
    assert described[0] == FUNCTION and described[1]["name"] == "weather" and functions[1] is weather
    call, result = (ASKED, RESULT) if version == 2 else (
        {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": {}}},
        {"role": "function", "name": "f", "content": "{}"})
    with pytest.raises(ValueError, match=r"messages\[1\]"):
        ask([*USER, result])
    assert len(running.requests) == 1
    ask([*USER, call, result])
    ask({"messages": [result], "storage": {"thread_id": "t"}})  # the service has the beginning
    assert len(running.requests) == 3


# ---- Streams: what they say


@pytest.mark.parametrize("name", STREAMS)
def test_each_stream_is_one_request_and_its_text(name, server):
    ask, path, body, events, _ = STREAMS[name]
    running = server([sse(events, headers=IDS)])
    stream = ask(client(running))
    assert list(stream) and stream.x_headers["x-request-id"] == "r-1"
    seen, = running.requests
    assert (seen.method, seen.path, seen.json) == ("POST", "/api" + path, body)
    assert (seen.headers["Accept"], seen.headers["Accept-Encoding"]) == ("text/event-stream", "identity")
    assert stream.text == ("".join(SEARCH_TEXTS) if "chat" in name else THREAD_TEXT) and stream.finish_reason == "stop"
    assert stream.completion.x_headers["x-request-id"] == "r-1"


def test_the_recorded_v2_stream_adds_up_to_the_answer(server):
    stream = client(server(sse(V2_STREAM))).chat.stream("x")
    chunks = list(stream)
    assert [chunk.event for chunk in chunks] == ["response.message.delta", "response.message.done"]
    assert all(type(chunk) is models.PrimaryChatCompletionChunk for chunk in chunks)
    assert chunks[0].messages[0].content[0].text == stream.text == "1, 2, 3"
    assert type(stream.usage) is models.ChatUsage and stream.usage.total_tokens == 27
    assert type(stream.completion) is models.ChatCompletionResponse and stream.completion == {
        "model": "GigaChat-3-Ultra:32.3.18.5", "created_at": 1780321864,
        "messages": [{"role": "assistant", "content": [{"text": "1, 2, 3"}]}], "finish_reason": "stop",
        "usage": {"input_tokens": 19, "input_tokens_details": {"prompt_tokens": 19, "cached_tokens": 0},
                  "output_tokens": 8, "total_tokens": 27}}


def named(name, data):
    data = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return (f"event: {name}\n" if name else "").encode() + f"data: {data}\n\n".encode()


def delta(*parts, role="assistant", **more):
    return named("response.message.delta", {"messages": [{"role": role, "content": list(parts), **more}]})


def done(**more):
    return named("response.message.done", {"finish_reason": "stop", **more})


CALL = {"function_call": {"name": "f", "arguments": {"a": 1}}}
CALL_ID = {"function_call": {"id": "1", "name": "f", "arguments": {"a": 1}}}
MADE = {"files": [{"id": "1", "mime": "image/jpeg", "target": "image"}]}
WHOLES = {  # events: the messages that they add up to, and the text
    "texts become one": ([delta({"text": "а"}, {"text": "б"}), delta({"text": ""}), delta({"text": "в"}), done()],
                         [{"role": "assistant", "content": [{"text": "абв"}]}], "абв"),
    "the same text twice is twice": ([delta({"text": "ха"}), delta({"text": "ха"}), done()],
                                     [{"role": "assistant", "content": [{"text": "хаха"}]}], "хаха"),
    "a call in the end": ([done(messages=[{"role": "assistant", "tool_state_id": "s", "content": [CALL_ID]}])],
                          [{"role": "assistant", "tool_state_id": "s", "content": [CALL_ID]}], ""),
    "a call in both": ([delta(CALL), done(messages=[{"role": "assistant", "content": [CALL_ID]}])],
                       [{"role": "assistant", "content": [CALL_ID]}], ""),
    "two calls": ([delta(CALL, {"function_call": {"name": "f", "arguments": {"a": 2}}}), done()],
                  [{"role": "assistant", "content": [CALL, {"function_call": {"name": "f", "arguments": {"a": 2}}}]}],
                  ""),
    "a file between texts": ([delta({"text": "a"}), delta(MADE), delta({"text": "b"}),
                              done(messages=[{"content": [MADE]}])],
                             [{"role": "assistant", "content": [{"text": "a"}, MADE, {"text": "b"}]}], "ab"),
    "text beside something": ([delta({"text": "a", "inline_data": {}})] * 2 + [done()],
                              [{"role": "assistant", "content": [{"text": "a", "inline_data": {}}] * 2}], "aa"),
    "another role": ([delta({"text": "hm"}, role="reasoning"), delta({"text": "a"}), delta({"text": "!"}, role=None),
                      done()], [{"role": "reasoning", "content": [{"text": "hm"}]},
                                {"role": "assistant", "content": [{"text": "a!"}]}], "a!"),
    "two messages": ([named("response.message.delta", {"messages": [{"content": [{"text": "a"}]},
                                                                    {"content": [{"text": "b"}]}]})] * 2 + [done()],
                     [{"role": "assistant", "content": [{"text": "aa"}]},
                      {"role": "assistant", "content": [{"text": "bb"}]}], "aabb"),
    "unknown events": ([named("response.novel.done", {"messages": [{"content": [{"text": "x"}]}]}), named("ping", "{"),
                        named("ping", "[]"), named("", {}), b": remark\n\n", delta({"text": "a"}), done()],
                       [{"role": "assistant", "content": [{"text": "a"}]}], "a"),
    "unknown shapes": ([named("response.message.delta", {"messages": shape}) for shape in (
        None, 5, {}, [None, 5, []], [{"content": 5}], [{"content": [None, 5, {"text": None}]}],
        [{"content": "a"}], [{"content": [{"novel": 1}]}])] + [done()],
                       [{"role": "assistant", "content": [{"text": None}, {"text": "a"}, {"novel": 1}]}], "a"),
    "a done mark after the end": ([delta({"text": "a"}), done(), b"data: [DONE]\n\n"],
                                  [{"role": "assistant", "content": [{"text": "a"}]}], "a"),
    "no name": ([named("", {"messages": [{"content": [{"text": "a"}]}]}), done()],
                [{"role": "assistant", "content": [{"text": "a"}]}], "a"),
    "nothing but the end": ([done()], [], ""),
    "odd roles": ([named("response.message.delta", {"messages": [{"role": role, "content": [{"text": "a"}]}]})
                   for role in (["assistant"], {}, 5, "")] + [done()],
                  [{"role": "assistant", "content": [{"text": "aaaa"}]}], "aaaa"),
    "two calls alike": ([delta({"function_call": {"id": id, "name": "f", "arguments": {}}}) for id in ("1", "2")]
                        + [done(messages=[{"content": [{"function_call": {"name": "f", "arguments": {}}}]}])],
                        [{"role": "assistant", "content": [{"function_call": {"id": id, "name": "f", "arguments": {}}}
                                                           for id in ("1", "2")]}], ""),
}


@pytest.mark.parametrize("case", WHOLES)
def test_what_v2_events_add_up_to(case, server):
    events, messages, text = WHOLES[case]
    running = server([sse(events), reply(body=V2_BODY)])
    giga = client(running, max_connections=1)
    stream = giga.chat.stream("x")
    chunks = list(stream)
    assert stream.completion == {"finish_reason": "stop", "messages": messages} and stream.text == text
    assert chunks[-1].event == "response.message.done" and stream.usage is None and stream.finish_reason == "stop"
    if case == "unknown events":  # they are passed on, and are no part of the answer
        assert [(chunk.event, chunk.text) for chunk in chunks[:2]] == [
            ("response.novel.done", ""), ("response.message.delta", "a")]
    assert giga.chat.create("x") and running.connections == 1


LIMITED = {"status": 429, "message": "Too many requests"}
ERRORS = {
    "named": (named("error", LIMITED), RateLimitError, "Too many"),
    "unnamed": (named("", LIMITED), RateLimitError, "Too many"),
    "in a delta": (named("response.message.delta", {"status": 500, "message": "Internal"}), ServerError, "Internal"),
    "in the end": (named("response.message.done", {"status": 500, "message": "Internal"}), ServerError, "Internal"),
    "response.error": (named("response.error", {"error": {"status": 422, "message": "Поле"}}),
                       UnprocessableEntityError, "Поле"),
    "no status": (named("", {"message": "Слишком\nдолго"}), StreamError, "Слишком долго"),
    "words": (named("error", "upstream timeout"), StreamError, "upstream timeout"),
    "no json": (named("response.message.delta", "{"), StreamError, "JSON"),
    "no json in the end": (named("response.message.done", "null"), StreamError, "JSON"),
    "no utf-8": (b"event: response.message.delta\ndata: \xff\n\n", StreamError, "UTF-8"),
    "a done mark first": (b"data: [DONE]\n\n", StreamError, "response.message.done"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_in_a_v2_stream_keeps_the_text(case, server):
    wrong, kind, words = ERRORS[case]
    running = server([sse([delta({"text": "Раз "}), delta({"text": "два"}), wrong, done()]), reply(body=V2_BODY)])
    giga = client(running, max_connections=1, max_retries=5)
    text, error = fails(giga.chat.stream("x"), kind)
    assert text == "Раз два" and words in str(error) and "\n" not in str(error)
    assert giga.chat.create("x") and len(running.requests) == 2


def text_of(chunk):
    said = chunk.event.startswith("response.message") and chunk.messages
    return "".join(part.text or "" for message in said or () for part in message.content or ())


def fails(stream, kind=StreamError):
    """Read a v2 stream to its error, check that it stays one, and give the text and the error."""
    got = []
    with pytest.raises(kind) as caught:
        for chunk in stream:
            got.append(text_of(chunk))
    text, error = "".join(got), caught.value
    assert type(error) is kind and error.partial == text == stream.text and stream.completion is None
    with pytest.raises(kind):
        next(stream)
    return text, error


# ---- Streams: where they end


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CUTS = {  # what the server sends before it closes, when it was to send so many bytes of the body
    "chunked": lambda data, at: HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (at, data[:at])
    if at else HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "close": lambda data, at: HEAD + b"Connection: close\r\n\r\n" + data[:at],
    "length": lambda data, at: HEAD + b"Content-Length: %d\r\n\r\n" % len(data) + data[:at],
}


def positions(data, every):
    """List where to cut: every so many bytes, and round the ends of events and letters of several bytes."""
    near = {match.start() + i for match in re.finditer(b"\n\n", data) for i in range(-1, 4)}
    return sorted(near.union(range(0, len(data), every)).intersection(range(len(data) + 1)))


@pytest.mark.parametrize("every", [97, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("way", CUTS)
def test_a_v2_stream_cut_anywhere_is_an_error(way, every, server):
    wire = []
    running = server(lambda request, connection: raw(wire[-1], "keep" if way == "chunked" else "fin"))
    giga = client(running, max_connections=1)
    ends = [match.end() for match in re.finditer(b"\n\n", SEARCH)]
    for at in positions(SEARCH, every):
        wire.append(CUTS[way](SEARCH, at))
        stream = giga.chat.stream("x")
        if at == len(SEARCH):
            assert "".join(map(text_of, stream)) == "".join(SEARCH_TEXTS) == stream.text and stream.completion, at
        else:
            text = fails(stream)[0]
            assert text == "".join(SEARCH_TEXTS[: max(sum(end <= at for end in ends) - 3, 0)]), at
    assert len(running.requests) == len(wire)


def test_events_of_a_run_are_added_up(server):
    stream = client(server(sse(THREAD_STREAM))).threads.rerun_messages_stream("t-1")
    chunks, sums = [], []
    for chunk in stream:
        chunks.append(chunk)
        sums.append(stream.usage.total_tokens)
    assert sums == [87, 95] and [chunk.usage.total_tokens for chunk in chunks] == [87, 8]
    assert all(type(chunk) is models.ThreadCompletionChunk for chunk in chunks)
    assert type(stream.completion) is models.ThreadCompletion and stream.completion == {
        "created": 1715684409, "model": "GigaChat-Pro:2.2.25.3", "object": "threads.messages.run",
        "usage": {"prompt_tokens": 64, "completion_tokens": 31, "total_tokens": 95},
        "thread_id": "9b1cc6d9-0eeb-46de-b01f-6f74c9a82df7", "message_id": "fd753d3f-f1f5-498f-b5dd-da380607d470",
        "message": {"content": THREAD_TEXT, "role": "assistant"}, "finish_reason": "stop"}


def test_a_run_may_tell_its_status_first(server):
    events = [{"status": "in_progress", "thread_id": "t-1"}, {"choices": [{"delta": {"content": "a"}, "index": 0}]}]
    running = server([sse([*events, "[DONE]"])])
    newer = {"temperature": 1, "additional_fields": {"newer": 1}}
    stream = client(running).threads.run_stream("t-1", thread_options=newer)
    assert "".join(chunk.text for chunk in stream) == "a" == stream.text
    assert running.requests[0].json == {"temperature": 1, "newer": 1, "thread_id": "t-1", "stream": True}


@pytest.mark.parametrize("usages, wanted", [
    ([{"total_tokens": 1}, None, {"total_tokens": 2}], {"total_tokens": 3}),
    ([None, {"total_tokens": 1, "x": None}, {"total_tokens": None, "x": 2, "y": {"z": 1}}],
     {"total_tokens": 1, "x": 2, "y": {"z": 1}}),
    ([5, {"total_tokens": 1}, "x"], {"total_tokens": 1}), ([None, None, None], None)])
def test_a_runs_usage_may_be_missing_or_odd(usages, wanted, server):
    events = [{"choices": [{"delta": {"content": "a"}, "index": 0}], "usage": usage} for usage in usages]
    stream = client(server(sse([*events, "[DONE]"]))).threads.run_stream("t-1")
    assert len(list(stream)) == 3 and stream.usage == wanted and stream.text == "aaa"


@pytest.mark.long
def test_the_end_of_a_v2_stream_frees_its_place(server):
    running = server([held(SEARCH_EVENTS), reply(body=V2_BODY), held(SEARCH_EVENTS)])
    giga = client(running, max_connections=1, pool_timeout=1)
    stream = giga.chat.stream("x")
    assert [next(stream).event for _ in SEARCH_EVENTS][-1] == "response.message.done"
    assert giga.chat.create("x")  # though the stream is still open
    assert list(stream) == [] and stream.text == "".join(SEARCH_TEXTS)
    again = giga.chat.stream("x")
    next(again)
    with pytest.raises(TransportError, match="open streams of this thread"):
        giga.chat("x")
    again.close()
    with pytest.raises(StreamError):
        next(again)
    until(lambda: running.open <= 1)


def test_runs_of_threads_hold_a_place(server):
    running = server([sse(THREAD_STREAM), reply(body=THREAD), reply(body=RUN)])
    giga = client(running, max_connections=1, pool_timeout=0.01)
    with giga.threads.run_stream("t-1"):
        assert giga.threads.create_thread() == "t-1" and giga.threads.run("t-1").status == "in_progress"
        for ask in (lambda: giga.chat("x"), lambda: giga.threads.run_messages(["x"], "t-1"),
                    lambda: giga.threads.rerun_messages("t-1"), lambda: giga.threads.run_stream("t-1")):
            with pytest.raises(TransportError, match="open streams of this thread"):
                ask()
    assert len(running.requests) == 3


# ---- Batches


OTHER_BATCH = {**BATCH, "id": "b-0"}


@pytest.mark.parametrize("answer, ids", [
    ({"batches": [OTHER_BATCH, BATCH]}, ["b-0", "b-1"]), ([OTHER_BATCH, BATCH], ["b-0", "b-1"]), (BATCH, ["b-1"]),
    ({"batches": BATCH}, ["b-1"]), ([{"id": "b-1", "request_counts": []}, None, 5], ["b-1"]), ([], []), ({}, []),
    ({"batches": []}, []), ({"batches": None}, []), ([OTHER_BATCH], ["b-0"])])
def test_batches_are_read_in_any_shape(answer, ids, server):
    running = server(reply(body=json.dumps(answer), headers=IDS))
    giga = client(running)
    batches = giga.batches.list()
    assert [batch.id for batch in batches.batches] == ids and type(batches) is models.Batches
    assert batches.x_headers["x-request-id"] == "r-1"
    if "b-1" in ids:
        assert giga.batches.get("b-1").id == "b-1" and running.requests[1].path == "/api/v1/batches?batch_id=b-1"
    else:
        with pytest.raises(NotFoundError, match="no such batch"):
            giga.batches.get("b-1")


@pytest.mark.parametrize("requests, method, lines", [
    (["а", {"messages": USER, "model": "m", "stream": True}], "chat_completions", [
        {"id": "0", "request": {"messages": [{"role": "user", "content": "а"}], "model": "GigaChat"}},
        {"id": "1", "request": {"messages": USER, "model": "m"}}]),
    ({"x": "а", "y": ["б", "в"], "z": {"input": "г", "model": "EmbeddingsGigaR"}}, "embedder", [
        {"id": "x", "request": {"model": "Embeddings", "input": ["а"]}},
        {"id": "y", "request": {"model": "Embeddings", "input": ["б", "в"]}},
        {"id": "z", "request": {"model": "EmbeddingsGigaR", "input": ["г"]}}])])
def test_a_batch_is_a_line_a_request(requests, method, lines, server):
    running = server(reply(body=BATCH))
    client(running).batches.create(requests, method)
    sent = running.requests[0]
    assert [json.loads(line) for line in sent.body.decode().split("\n")[:-1]] == lines and sent.body.endswith(b"}\n")
    assert sent.path == "/api/v1/batches?method=" + method


def test_an_unfinished_batch_is_asked_for_again(server):
    finished = {**BATCH, "status": "completed", "output_file_id": "f"}
    running = server([reply(body=finished), reply(body=json.dumps({"id": "0", "result": json.loads(CHAT_BODY)})),
                      reply(body=BATCH)])
    giga = client(running)
    assert giga.batches.results(models.Batch(BATCH))["0"].text == CHAT_TEXT
    with pytest.raises(ValueError, match="created"):
        giga.batches.results("b-1")
    assert running.requests[0].path == "/api/v1/batches?batch_id=b-1"


def test_results_are_matched_by_their_names(server):
    lines = [{"id": "б", "error": {"status": 422, "message": "Invalid params"}},
             {"id": "а", "result": json.loads(CHAT_BODY.decode())}, {"id": "в", "error": "broken"}, {"id": "г"}]
    body = "\n".join(json.dumps(line, ensure_ascii=False).replace("Hello", "a\u2028b") for line in lines) + "\n\n"
    finished = {**BATCH, "status": "completed", "output_file_id": "f/1"}
    file = reply(body=body, headers={"Content-Type": "application/octet-stream", **IDS})
    running = server([reply(body=finished), file, file])
    giga = client(running)
    results = giga.batches.results("b-1")
    assert results["а"].choices[0].message.content == "a\u2028b." and results["а"].x_headers["x-request-id"] == "r-1"
    assert type(results["б"]) is UnprocessableEntityError and "Invalid params" in str(results["б"])
    assert type(results["в"]) is type(results["г"]) is ServerError and list(results) == ["б", "а", "в", "г"]
    assert set(giga.batches.results(models.Batch(finished))) == set("абвг")
    assert [one.path for one in running.requests] == [
        "/api/v1/batches?batch_id=b-1", *["/api/v1/files/f%2F1/content"] * 2]


def test_results_of_vectors_are_vectors(server):
    finished = {**BATCH, "method": "embedder", "output_file_id": "f"}
    lines = '\ufeff{"id":"0","result":{"data":[{"embedding":[1],"index":0}]}}\n{"result":{}}'
    running = server([reply(body=lines), reply(body="[1]\n{}\n"),
                      reply(body="<html>нет</html>")])
    giga = client(running)
    vectors = giga.batches.results(finished)
    assert vectors["0"].data[0].embedding == [1] and list(vectors) == ["0", "1"]
    for _ in range(2):
        with pytest.raises(ResponseError, match="no JSON object"):
            giga.batches.results(finished)


@pytest.mark.parametrize("call", [
    lambda giga, file: giga.get_file(file), lambda giga, file: giga.batches.get(file),
    lambda giga, file: giga.chat([{"role": "user", "content": "x", "attachments": [file]}]),
    lambda giga, file: giga.chat([{"role": "user", "content": "x", "attachments": file}])])
def test_an_object_instead_of_its_id_is_refused(call, server):
    running = server([])
    with pytest.raises((TypeError, ValueError), match=r"the \.id of this UploadedFile"):
        call(client(running), models.UploadedFile(id="f-1", filename="a.txt"))
    assert not running.requests


@pytest.mark.parametrize("call, words", [
    (lambda giga: giga.threads.run_messages(["x"], temperature=1), "goes into thread_options"),
    (lambda giga: giga.chat("x", temperature=1), "'temperature': ..."),
    (lambda giga: giga.chat("x", headers="x"), "headers: a dict is needed"),
    (lambda giga: giga.chat([{"role": "user", "content": "x", "attachments": "f-1"}]), "attachments: a list")])
def test_a_slip_is_told_where_it_belongs(call, words, server):
    with pytest.raises(TypeError) as caught:
        call(client(server([])))
    assert words in str(caught.value)


def test_what_stands_in_a_query_string_is_not_logged(server, caplog):
    caplog.set_level("DEBUG", "gigachat_lite")
    running = server(reply(body={"object": "list", "data": []}))
    giga = new_client(base_url=running.url + "/api/v1", access_token="t")
    list(giga.threads.list(limit=7, before=1234567).threads or [])
    assert "before=1234567" in running.requests[-1].path
    assert "1234567" not in caplog.text and "/threads" in caplog.text
