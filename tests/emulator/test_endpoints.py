"""What the API has besides the chat: functions, balance, checks, batches, assistants and threads."""

from __future__ import annotations

import json

import pytest

from caller import compact, shape

from .helpers import CHAT2, SYNTAX, WEATHER, refused, upload, v1, v2

# ---- Functions, balance, checks


def test_a_description_is_validated(caller):
    def ask(body):
        return caller.ask("POST", "/v1/functions/validate", body).content.decode()

    whole = dict(WEATHER, return_parameters={"type": "object"}, few_shot_examples=[{"request": "а", "params": {}}])
    assert ask(dict(whole, few_shot_examples=[])) == (
        '{"status":200,"message":"Function is valid","json_ai_rules_version":"1.0.5","warnings":[{"description":'
        '"few_shot_examples are missing","schema_location":"(root)"}]}')
    assert ask({"parameters": {}}) == (
        '{"status":200,"message":"Incorrect function syntax","json_ai_rules_version":"1.0.5","errors":[{"description":'
        '"name is required","schema_location":"(root)"}]}')
    assert ask(whole) == '{"status":200,"message":"Function is valid","json_ai_rules_version":"1.0.5"}'
    inner = {"type": "object", "properties": {"data": {"type": "object"}}}
    for wrong in (dict(whole, name="погода"), dict(whole, parameters="{}"), dict(whole, parameters=inner), {}):
        assert json.loads(ask(wrong))["message"] == "Incorrect function syntax"
    assert refused(caller.ask("POST", "/v1/functions/validate", "[]")) == SYNTAX


def test_openapi_becomes_functions(caller):
    loop = {"$ref": "#/components/schemas/Loop"}
    document = {
        "paths": {"/cities/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}],
            "get": {"summary": "Город", "responses": {"200": {"content": {"application/json": {"schema": loop}}}}},
            "put": {"operationId": "change city!", "requestBody": {"content": {"application/json": {"schema": {
                "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}}}}}}},
        "components": {"schemas": {
            "Loop": {"type": "object", "properties": {"again": loop, "n": {"type": "integer"}}}}}}
    get, put = caller.ask("POST", "/v1/functions/convert", json.dumps(document)).json["functions"]
    assert (get["name"], get["description"]) == ("get_cities_id", "Город")
    assert get["parameters"] == {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}
    assert get["return_parameters"]["properties"] == {"again": {}, "n": {"type": "integer"}}
    assert put["name"] == "change_city" and "return_parameters" not in put
    assert put["parameters"]["required"] == ["id", "name"] and list(put["parameters"]["properties"]) == ["id", "name"]
    for wrong in ("openapi: 3.0.0", "[]", "{}", '{"paths":[]}', ""):
        assert refused(caller.ask("POST", "/v1/functions/convert", wrong)) == SYNTAX


def test_balance_and_judgement_are_for_different_customers(caller, company):
    assert caller.ask("GET", "/v1/balance").content == (
        b'{"balance":[{"usage":"GigaChat","value":900000},{"usage":"embeddings","value":9999967}]}')
    body = {"input": "Слово " * 40 + ". Так.", "model": "GigaCheckDetection"}
    for who, method, path in ((company, "GET", "balance"), (caller, "POST", "ai/check"), (caller, "GET", "batches")):
        assert refused(who.ask(method, "/v1/" + path, body)) == (403, "Permission denied")
    answer = company.ask("POST", "/v1/ai/check", body).json
    assert shape(answer) == [
        ("category", "str"), ("characters", "int"), ("tokens", "int"), ("ai_intervals", [["int"]])]
    (start, end), = answer["ai_intervals"]
    assert (answer["category"], body["input"][start - 1:end].strip()) == ("mixed", ("Слово " * 40 + ".").strip())
    other = company.ask("POST", "/v1/ai/check", dict(body, model="GigaCheckClassification")).json
    assert (other["category"], other["ai_intervals"]) == ("ai", [])
    assert refused(company.ask("POST", "/v1/ai/check", dict(body, model="GigaChat"))) == (404, "No such model")
    assert refused(company.ask("POST", "/v1/ai/check", dict(body, input="Мало слов")))[0] == 422


# ---- Batches


def ask_batch(company, *lines, method="chat_completions"):
    raw = "\n".join(line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)
    return company.ask("POST", f"/v1/batches?method={method}", raw.encode(), Content_Type="application/octet-stream")


def test_a_batch_is_done_by_and_by(company):
    made = ask_batch(company, {"id": "б", "request": v1("2 + 2")}, "", {"id": "в", "request": {"model": "Nope"}},
                     {"id": "г", "request": v1("2 + 3")})
    assert shape(made.json) == [
        ("id", "str"), ("method", "str"), ("request_counts", [("total", "int")]), ("status", "str"),
        ("created_at", "int"), ("updated_at", "int")]
    assert (made.json["status"], made.json["request_counts"]) == ("created", {"total": 3})
    path = "/v1/batches?batch_id=" + made.json["id"]
    steps = [company.ask("GET", path).json["batches"] for _ in range(3)]
    assert [[batch["status"] for batch in step] for step in steps] == [["in_progress"], ["completed"], ["completed"]]
    done = steps[-1][0]
    assert done["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    assert done in company.ask("GET", "/v1/batches").json["batches"]
    output = company.ask("GET", f"/v1/files/{done['output_file_id']}/content").content
    good, bad, _ = map(json.loads, output.decode().splitlines())
    assert good["id"] == "б" and good["result"]["choices"][0]["message"]["content"] == "2 + 2 = 4"
    assert bad == {"id": "в", "error": {"status": 422, "message": "Invalid params: messages must not be empty"}}


def test_a_batch_of_vectors(company):
    body = {"model": "Embeddings", "input": ["раз"]}
    batch = ask_batch(company, {"id": "1", "request": body}, method="embedder").json
    for _ in range(2):
        step = company.ask("GET", "/v1/batches?batch_id=" + batch["id"]).json["batches"][0]
    line = company.ask("GET", f"/v1/files/{step['output_file_id']}/content").json
    assert line["result"] == company.ask("POST", "/v1/embeddings", body).json


def test_what_no_batch_can_be(company):
    assert refused(company.ask("GET", "/v1/batches?batch_id=x")) == (404, "Batch task not found")
    line = {"id": "1", "request": {}}
    for lines in (["x"], [{"id": 1, "request": {}}], [{"id": "1"}]):
        assert refused(ask_batch(company, *lines)) == SYNTAX
    assert ask_batch(company).status == ask_batch(company, line, line).status == 422
    assert ask_batch(company, line, method="x").status == 422


# ---- Assistants and threads


def post(caller, path, **body):
    return caller.ask("POST", "/v1/threads" + path, body)


def user(*texts):
    return [{"role": "user", "content": text} for text in texts]


def test_an_assistant_lives_until_it_is_deleted(caller):
    def ask(path, **body):
        return caller.ask("POST", "/v1/assistants" + path, body)

    file = upload(caller, b"a")
    made = ask("", model="GigaChat-Pro", name="а", instructions="Отвечай", file_ids=[file], functions=[WEATHER]).json
    assert shape(made) == [("assistant_id", "str"), ("created_at", "int")]
    name = made["assistant_id"]
    changed = ask("/modify", assistant_id=name, name="б", description=None).json
    assert (changed["name"], changed["instructions"], changed["file_ids"]) == ("б", "Отвечай", [file])
    assert caller.ask("GET", "/v1/assistants?assistant_id=" + name).json == {"data": [changed]}
    assert changed in caller.ask("GET", "/v1/assistants").json["data"]
    assert ask("/files/delete", assistant_id=name, file_id=file).json == {"file_id": file, "deleted": True}
    assert ask("/files/delete", assistant_id=name, file_id=file).status == 404
    body = {"assistant_id": name, "messages": [{"role": "user", "content": "Погода в Туле?"}], "function_call": "auto"}
    run = caller.ask("POST", "/v1/threads/messages/run", body).json
    assert run["finish_reason"] == "function_call" and run["message"]["function_call"]["name"] == "getWeather"
    second = caller.ask("POST", CHAT2, {"messages": v2("а")["messages"], "assistant_id": name}).json
    assert second["model"].startswith("GigaChat-Pro:")
    assert ask("/delete", assistant_id=name).json == {"assistant_id": name, "deleted": True}
    for path in ("/delete", "/modify"):
        assert refused(ask(path, assistant_id=name)) == (404, "No such assistant")


@pytest.mark.parametrize(("fields", "status"), [
    ({"model": "Nope"}, 404), ({"name": None}, 422), ({"name": 1}, 400), ({"file_ids": ["x"]}, 404),
    ({"metadata": {str(n): n for n in range(17)}}, 422), ({"functions": [dict(WEATHER, name="1")]}, 422),
    ({"extra": 1}, 422), ({"metadata": {str(n): n for n in range(16)}}, 200)])
def test_what_an_assistant_may_be(caller, fields, status):
    assert caller.ask("POST", "/v1/assistants", {"model": "GigaChat", "name": "а", **fields}).status == status


def test_a_run_answers_what_a_thread_ends_with(caller):
    thread = post(caller, "").json
    assert (thread["status"], thread["run_lock"]) == ("ready", False)
    name = thread["id"]
    assert post(caller, "/run", thread_id=name).status == 422  # there is nothing to answer
    added = post(caller, "/messages", thread_id=name, messages=user("Меня зовут Анна", "2 + 2")).json
    assert added["thread_id"] == name and len(added["messages"]) == 2
    begun = post(caller, "/run", thread_id=name).json
    assert list(begun.items())[:2] == [("status", "in_progress"), ("thread_id", name)]
    looked = caller.ask("GET", "/v1/threads/run?thread_id=" + name).json
    assert looked["status"] == "ready" and [m["content"] for m in looked["messages"]][1:] == ["2 + 2", "2 + 2 = 4"]
    answer = post(caller, "/messages/run", thread_id=name, messages=user("Как меня зовут?")).json
    assert answer["message"] == {"content": "Вас зовут Анна.", "role": "assistant"}
    assert post(caller, "/messages/run", thread_id=name, messages=user("Как меня зовут?"), limit=1).json["message"][
        "content"] == "Вы ещё не представились."
    listed = caller.ask("GET", f"/v1/threads/messages?thread_id={name}&limit=2").json["messages"]
    assert [m["role"] for m in listed] == ["user", "assistant"] and listed[1]["finish_reason"] == "stop"
    assert not caller.ask("GET", f"/v1/threads/messages?thread_id={name}&before=1").json["messages"]
    deleted = post(caller, "/delete", thread_id=name)
    assert (deleted.status, deleted.content) == (200, b"")
    assert post(caller, "/retrieve", threads_ids=[name]).json == {"threads": []}
    assert refused(post(caller, "/delete", thread_id=name)) == (404, "No such thread")


def test_what_is_refused_leaves_a_thread_as_it_was(caller):
    name = post(caller, "/messages", messages=user("а")).json["thread_id"]
    before = caller.ask("GET", "/v1/threads/messages?thread_id=" + name).content
    threads = caller.ask("GET", "/v1/threads").content
    function = {"role": "function", "content": "{}"}
    for body, status in (
            ({"messages": [function]}, 422), ({"messages": user("б"), "temperature": 3}, 422), ({"messages": []}, 422),
            ({"messages": user("б"), "assistant_id": "x"}, 404), ({"messages": [{"role": "user", "content": 1}]}, 400),
            ({"messages": user("б"), "functions": [dict(WEATHER, name="1")]}, 422),
            ({"messages": [{"role": "assistant", "content": "б"}]}, 422)):
        assert post(caller, "/messages/run", thread_id=name, **body).status == status, body
        assert post(caller, "/messages/run", model="Nope", **body).status in (status, 404), body
    assert caller.ask("GET", "/v1/threads/messages?thread_id=" + name).content == before
    assert caller.ask("GET", "/v1/threads").content == threads
    for path in ("threads?limit=-1", "threads?before=x", f"threads/messages?thread_id={name}&limit=1.5"):
        assert refused(caller.ask("GET", "/v1/" + path)) == SYNTAX


def test_a_stream_of_a_run_shares_its_tokens_out(caller):
    body = {"messages": user("Расскажи о Байкале"), "model": "GigaChat-Pro"}
    plain = post(caller, "/messages/run", **body).json
    answer = post(caller, "/messages/run", stream=True, **body)
    assert answer.headers["content-type"] == "text/event-stream" and answer.content.endswith(b"}\n\ndata: [DONE]\n\n")
    blocks = answer.content.split(b"\n\n")[:-2]
    events = [json.loads(block[6:].decode()) for block in blocks]
    assert [b"data: " + compact(event) for event in events] == blocks and len(events) > 3
    assert list(events[0]) == ["choices", "created", "model", "object", "usage", "thread_id", "message_id"]
    choices = [event["choices"][0] for event in events]
    assert [list(choice["delta"]) for choice in choices] == [["content", "role"]] + [["content"]] * (len(events) - 1)
    assert [choice.get("finish_reason") for choice in choices] == [None] * (len(events) - 1) + ["stop"]
    assert "".join(choice["delta"]["content"] for choice in choices) == plain["message"]["content"]
    for name, total in plain["usage"].items():
        assert sum(event["usage"][name] for event in events) == total
    assert [event["usage"]["prompt_tokens"] for event in events[1:]] == [0] * (len(events) - 1)
