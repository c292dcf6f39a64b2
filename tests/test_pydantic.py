"""The classes are types of pydantic's fields, version 1 or 2, and of FastAPI's routes."""
import asyncio
import json
import subprocess
import sys
from typing import Dict, List, Optional

import pytest

from gigachat_lite import Chat, ChatCompletion, ChatMessage, Embeddings, Messages, MessagesRole, Usage

pydantic = pytest.importorskip("pydantic")
ANSWER = {
    "choices": [{"message": {"role": "assistant", "content": "Да.", "novel": [1]}, "index": 0}],
    "created": 1, "model": "GigaChat", "object": "chat.completion", "usage": {"total_tokens": 3}, "newer": {"a": None},
}
QUESTION = {"role": "user", "content": "Привет"}


class Record(pydantic.BaseModel):
    messages: List[Messages]
    answer: Optional[ChatCompletion] = None
    usage: Dict[str, Usage] = {}
    role: MessagesRole = MessagesRole.USER


def dumped(model):
    return model.model_dump() if hasattr(model, "model_dump") else model.dict()


def dumped_json(model):
    return json.loads(model.model_dump_json() if hasattr(model, "model_dump_json") else model.json())


def schema_of(model):
    return model.model_json_schema() if hasattr(model, "model_json_schema") else model.schema()


def test_fields_hold_objects_and_become_plain_data():
    usage = {"a": {"total_tokens": 1}}
    record = Record(messages=[QUESTION, Messages(QUESTION)], answer=ANSWER, usage=usage, role="user")
    assert [type(message) for message in record.messages] == [Messages] * 2
    assert record.answer.text == "Да." and record.answer.newer == {"a": None} and record.usage["a"].total_tokens == 1
    assert record.messages[0].role is record.role is MessagesRole.USER
    plain = {"messages": [QUESTION] * 2, "answer": ANSWER, "usage": usage, "role": "user"}
    assert dumped_json(record) == plain and dumped(record) == plain
    assert Record(**dumped_json(record)) == record


def test_an_object_given_is_the_one_that_is_kept():
    message, answer = Messages(QUESTION), ChatCompletion(ANSWER)
    record = Record(messages=[message], answer=answer)
    assert record.messages[0] is message and record.answer is answer


@pytest.mark.parametrize("fields, said", [
    ({"messages": [QUESTION, {"role": "user", "content": 5}]}, "Messages.content: a string is needed, not int"),
    ({"messages": ["Привет"]}, "Messages: a dict or Messages is needed, not str"),
    ({"messages": [], "answer": [ANSWER]}, "ChatCompletion: a dict is needed, not list"),
])
def test_a_wrong_value_is_a_validation_error(fields, said):
    with pytest.raises(pydantic.ValidationError) as caught:
        Record(**fields)
    assert said in str(caught.value)


def test_values_are_read_as_requests_read_them():
    class Asked(pydantic.BaseModel):
        chat: Chat
        message: ChatMessage

    asked = Asked(chat={"messages": (QUESTION,), "max_tokens": "5"}, message={"role": "user", "content": "Привет"})
    assert asked.chat == {"messages": [QUESTION], "max_tokens": 5} and asked.message.content[0].text == "Привет"


def test_fields_that_are_newer_are_kept():
    usage = {"total_tokens": 3, "newer": {"a": None}}
    record = Record(messages=[{**QUESTION, "newer": 1}], usage={"a": usage})
    assert dumped_json(record)["usage"] == {"a": usage} and record.messages[0].newer == 1


def test_the_json_schema_names_fields_and_their_types():
    schema = schema_of(Record)["properties"]
    message = schema["messages"]["items"]
    assert message["title"] == "Messages" and message["properties"]["content"] == {"type": "string"}
    assert message["properties"]["data_for_context"] == {"type": "array", "items": {"type": "object"}}
    answer = json.dumps(schema["answer"])
    assert '"total_tokens": {"type": "integer"}' in answer and "x_headers" not in answer


@pytest.fixture(scope="module")
def app():
    fastapi = pytest.importorskip("fastapi")
    app = fastapi.FastAPI()

    @app.post("/ask")
    def ask(messages: List[Messages]) -> ChatCompletion:
        answer = ChatCompletion(ANSWER, asked=[message.content for message in messages])
        answer.x_headers = {"x-request-id": "r"}
        return answer

    @app.post("/vectors", response_model=Embeddings)
    def vectors(chat: Chat):
        return {"data": [{"embedding": [0.5], "index": len(chat.messages)}]}

    return app


def request(app, method, path, body=None):
    """Call an application as a server does (ASGI), and return the status and the JSON of its answer."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"" if body is None else json.dumps(body).encode()}

    async def send(event):
        sent.append(event)

    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
             "raw_path": path.encode(), "query_string": b"", "headers": [(b"content-type", b"application/json")],
             "scheme": "http", "server": ("localhost", 80), "client": ("localhost", 1), "root_path": ""}
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(app(scope, receive, send))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
    return sent[0]["status"], json.loads(b"".join(event.get("body", b"") for event in sent[1:]).decode())


def test_a_route_takes_messages_and_returns_an_answer(app):
    assert request(app, "POST", "/ask", [QUESTION]) == (200, {**ANSWER, "asked": ["Привет"]})
    assert request(app, "POST", "/vectors", {"messages": [QUESTION]}) == (
        200, {"data": [{"embedding": [0.5], "index": 1}]})


def test_a_route_refuses_what_is_no_message(app):
    status, answer = request(app, "POST", "/ask", [{"role": "user", "content": 5}])
    assert status == 422 and "Messages.content: a string is needed" in json.dumps(answer)


def test_the_openapi_document_describes_the_types(app):
    status, document = request(app, "GET", "/openapi.json")
    text = json.dumps(document, ensure_ascii=False)
    assert status == 200 and '"functions_state_id": {"type": "string"}' in text and '"finish_reason"' in text


def test_pydantic_is_never_imported_without_need():
    code = "import sys, gigachat_lite as g; g.Chat(messages=[]).model_dump(); assert 'pydantic' not in str(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
