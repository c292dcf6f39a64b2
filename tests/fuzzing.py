"""Send arbitrary requests to the emulator and check whatever comes back: ``python tests/fuzzing.py 1000000``.

The emulator runs in a process of its own, so that neither a crash nor a standstill takes the seed away. Every case is
drawn from the seed and its own number: raw bytes, broken heads and framings, callers who leave, whole requests with odd
methods, paths, headers and bodies, several in one write or one in several, and real requests to every route with their
JSON, forms, uploads and ids gone wrong, with good, bad, expired and missing tokens. Whole requests must be answered,
in HTTP that a strict reader takes, with JSON that is JSON and never with a 500, within a second each; anything else
gets an answer or the end of the connection. Every so often a real chat must work as it did at first, and the threads
must be as few. The first violation ends it with status 1, the seed, the number of the case and its bytes.
"""

from __future__ import annotations

import argparse
import base64
import collections
import contextlib
import json
import os
import pathlib
import random
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Counter, Iterator, NamedTuple

if TYPE_CHECKING:
    from gigachat_lite.emulator import Emulator

SCOPE = "GIGACHAT_API_CORP"  # which has most to ask
LIMIT = 1.0  # seconds that one request may take
PATIENCE = 10.0  # seconds after which no answer will come
EVERY = 1000  # requests between two looks at the emulator's health
STATUSES = {200, 400, 401, 403, 404, 405, 413, 422, 429, 431}


class Violation(Exception):
    """Say what the emulator did and should not have done."""


# ---- Cases: what is sent


class Piece(NamedTuple):
    """Hold a whole request, which must be answered; `closes` None where the connection may go on or end after it."""

    data: bytes
    method: str
    route: str
    closes: bool | None = False


class Case(NamedTuple):
    """Hold what is sent at once: whole requests, and something that need not be one.

    `end` is "" where the connection goes on, "half" where the caller says no more, "leave" or "reset" where it does
    not wait for answers. `cuts` are the places where one write ends and the next begins. `bare` goes past TLS, where
    there is any.
    """

    pieces: list[Piece]
    rest: bytes = b""
    end: str = ""
    cuts: tuple[int, ...] = ()
    bare: bool = False

    @property
    def data(self) -> bytes:
        """Return all of its bytes."""
        return b"".join([*(piece.data for piece in self.pieces), self.rest])


class Known(NamedTuple):
    """Hold what the emulator gave out: a request without it would not come past the door."""

    credentials: str
    good: str
    expired: str
    files: list[str]
    threads: list[str]
    assistants: list[str]


ROUTES = {  # name -> method and path; the braces are an id
    "oauth": ("POST", "/api/v2/oauth"),
    "token": ("POST", "/v1/token"),
    "models": ("GET", "/v1/models"),
    "model": ("GET", "/v1/models/{}"),
    "chat": ("POST", "/v1/chat/completions"),
    "embeddings": ("POST", "/v1/embeddings"),
    "count": ("POST", "/v1/tokens/count"),
    "upload": ("POST", "/v1/files"),
    "files": ("GET", "/v1/files"),
    "file": ("GET", "/v1/files/{}"),
    "content": ("GET", "/v1/files/{}/content"),
    "delete": ("POST", "/v1/files/{}/delete"),
    "primary": ("POST", "/v2/chat/completions"),
    "balance": ("GET", "/v1/balance"),
    "check": ("POST", "/v1/ai/check"),
    "validate": ("POST", "/v1/functions/validate"),
    "convert": ("POST", "/v1/functions/convert"),
    "batch": ("POST", "/v1/batches"),
    "batches": ("GET", "/v1/batches"),
    "assistants": ("GET", "/v1/assistants"),
    "assistant": ("POST", "/v1/assistants"),
    "modify": ("POST", "/v1/assistants/modify"),
    "dismiss": ("POST", "/v1/assistants/delete"),
    "detach": ("POST", "/v1/assistants/files/delete"),
    "threads": ("GET", "/v1/threads"),
    "thread": ("POST", "/v1/threads"),
    "retrieve": ("POST", "/v1/threads/retrieve"),
    "forget": ("POST", "/v1/threads/delete"),
    "messages": ("GET", "/v1/threads/messages"),
    "add": ("POST", "/v1/threads/messages"),
    "look": ("GET", "/v1/threads/run"),
    "run": ("POST", "/v1/threads/run"),
    "ask": ("POST", "/v1/threads/messages/run"),
    "rerun": ("POST", "/v1/threads/messages/rerun"),
}
GONE = ("delete", "dismiss", "forget", "detach")  # what they are to end is wanted by the next requests
QUERIES = {  # name -> what may stand behind the path
    "batch": ["method=chat_completions", "method=chat_completions", "method=embedder", "method=", "method=x", ""],
    "batches": ["", "", "batch_id=x", "batch_id=", "batch_id=%ff"],
    "assistants": ["", "assistant_id={assistant}", "assistant_id=x", "assistant_id=%00"],
    "threads": ["", "limit=2", "limit=-1", "limit=1e9", "before=1", "before=9999999999", "limit=0&before=x", "before=",
                "assistants_ids={assistant}&assistants_ids=x", "limit=" + "9" * 400],
    "messages": ["thread_id={thread}", "thread_id={thread}&limit=1&before=9999999999", "thread_id=x", ""],
    "look": ["thread_id={thread}", "thread_id={thread}", "thread_id=", "", "thread_id=%D0%B6"],
}
DRAWN = ["chat"] * 12 + ["primary"] * 8 + ["embeddings"] * 3 + ["count"] * 3 + ["oauth"] * 3 + ["upload"] * 4
DRAWN += ["ask", "rerun", "batch", "convert"] * 2 + list(ROUTES)
METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "X", "M" * 300]
IDS = [
    "GigaChat", "GigaChat-2-Max", "Embeddings", "nope", "", "..", "../..", "%2e%2e%2f%2e%2e", "%00", "%ff%fe", "%",
    "%u", "%D0%B6", "a" * 5000, "'", '"', "a/b", "a//b", "%2F", "content", "delete", "?", "a?b=%ff&c&d==&;", "#", "*",
    "%0D%0A", "\xff", "00000000-0000-4000-8000-000000000000"]
PATHS = [
    "*", "/", "//", "/api", "/v1", "/v1/", "/v1//models", "/api/v1/api/v1/models", "/V1/models", "/v2/chat/completions",
    "/v2/files", "/v2/models", "/v1/v2/chat/completions", "/v2/chat/completions/", "/v1/filter/check",
    "/v1/models?" + "a=b&" * 300, "http://other/v1/models", "ftp://", "http://?x", "/oauth", "/v1/oauth",
    "%2Fv1%2Fmodels", "/v1/models/../files", "\xff\xfe", "/v1/balance", "/v1/threads", "other:443", "/" + "x" * 9000,
    "?", "?a", "/v1?"]
TEXTS = [
    "Привет! Кто ты?", "Меня зовут Анна. ", "Как меня зовут?", "Сколько будет 2 + 2? ", "999999999 * 999999999 ",
    "от 1 до 9999 ", "Какая погода в Москве завтра?", "Закажи 3 билета на 2025-13-45 в 25:61 за 1e9 рублей ", "Байкал ",
    "страховка ", "стих", "код на Python ", "Спасибо", "a", "1", " ", "\n", "\r\n", "\0", "\x7f\x85", "\u2028",
    "\ufeff", "\ud83d", "\udc00", "😀", "е\u0301", "\u202e", "ﷺ", "\u0660\u06f1", "-", ".", "_", "я", "Я ", "слово ",
    "word ", "5 ", "- ", "data: [DONE]\n\n", "event: x\n", "%s%d{}{0}", "</html>", '"', "\\", "\\u0000", "null", "{",
    "[1]", '{"a":1}', "(a+)+$", "GigaChat", "get_weather", "user", "auto", "json_schema", "application/json",
    "меня зовут ", "от 1 ", "1 + ", "«»", "²"]
ODD = [
    "null", "true", "false", "0", "-1", "1", "2", "4", "5", "0.5", "-0.0", "1e-9", "1e308", "2147483648",
    "9223372036854775808", "1" + "0" * 40, '""', '"1"', "[]", "{}", "[[]]", "[null]", "[{}]", '{"":null}',
    '["a",1,null]', '{"type":"text"}', "[0.1]", '{"type":"json_schema","schema":{}}', '{"name":"get_weather"}',
    '{"name":null}', '"none"', '"auto"', '"GigaChat"', '{"type":["string",1,null]}', '{"$ref":"#"}',
    '{"type":"object","properties":{"a":{"type":"object"}}}', '"system"', '{"type":"array","items":{"type":"integer"}}',
    '{"enum":[]}', '{"properties":[]}', '{"required":"all"}', '"function"',
    '{"type":"object","properties":{"x":true,"y":null,"z":[1]},"required":["q",{}]}', '{"role":"user","content":"а"}']
RAW = [  # what `json.dumps` does not write
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 4000, "9" * 4400, "-" + "1" * 9000, "1." + "1" * 3000,
    '"\\ud83d"', '"\\ude00\\ud83d"', '"\\u0000"', "[" * 60 + "]" * 60, "[" * 3000 + "]" * 3000,
    '{"a":' * 900 + "1" + "}" * 900, "[" * 20000, '{"a":' * 5000, "", "nan", "'a'", "01", "+1", ".5", "1.", "\\", '"',
    "1 2", "[1,]", "{,}", "/*a*/1", "\ufeff1", '{"type":"object","properties":{"a":' * 200 + "{}" + "}}" * 200,
    '{"items":' * 300 + '{"type":"string"}' + "}" * 300]
CHATS = [json.dumps(body) for body in (
    {"model": "GigaChat", "messages": [{"role": "user", "content": "Привет! Кто ты?"}]},
    {"model": "GigaChat-2", "messages": [{"role": "user", "content": "Расскажи о Байкале"}], "stream": True},
    {"model": "GigaChat-2-Max", "stream": True, "update_interval": 0.2, "n": 2, "max_tokens": 5, "messages": [
        {"role": "system", "content": "Отвечай кратко"}, {"role": "user", "content": "Меня зовут Анна"},
        {"role": "assistant", "content": "Очень приятно"}, {"role": "user", "content": "Как меня зовут?"}]},
    {"model": "GigaChat", "temperature": 0.7, "top_p": 0.5, "n": 1, "max_tokens": 100, "repetition_penalty": 1.1,
     "update_interval": 0, "profanity_check": True, "flags": ["preprocess"], "response_format": {
         "type": "json_schema", "strict": True, "schema": {"type": "object", "properties": {"a": {"type": "integer"}}}},
     "messages": [{"role": "user", "content": "Сколько будет 2 + 2?"}]},
)]
FUNCTIONS = json.loads("""[
    {"name": "get_weather", "description": "Погода в городе на день", "parameters": {
        "type": "object", "required": ["city"], "properties": {
            "city": {"type": "string", "description": "Город"}, "days": {"type": "integer", "minimum": 1, "maximum": 9},
            "units": {"type": "string", "enum": ["C", "F"]}, "when": {"type": "string", "format": "date"}}},
     "few_shot_examples": [{"request": "Погода в Омске?", "params": {"city": "Омск"}}],
     "return_parameters": {"type": "object", "properties": {"temperature": {"type": "number"}}}},
    {"name": "order", "parameters": {"type": "object", "properties": {
        "items": {"type": "array", "items": {"type": "object", "properties": {"count": {"type": "number"}}}},
        "express": {"type": "boolean", "default": false}, "note": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}}
]""")
ASKED = {"role": "user", "content": "Какая погода в Москве?"}
CALLED = {"role": "assistant", "content": "", "function_call": {"name": "get_weather", "arguments": {"city": "Москва"}}}
CHATS += [json.dumps(dict(body, model="GigaChat-2-Pro", functions=FUNCTIONS)) for body in (
    {"messages": [ASKED], "function_call": "auto"},
    {"messages": [ASKED], "function_call": {"name": "order"}, "stream": True},
    {"messages": [ASKED, CALLED, {"role": "function", "name": "get_weather", "content": '{"temperature": -5}'}]},
)]
KEYWORDS = {  # of a JSON Schema, with values that they may have or had better not
    "enum": ["[]", '["C","F"]', '[1,null,true,{},[]]', '["завтра",2]', '[""]'], "const": ["1", '"x"', "null", "{}"],
    "default": ["0", '"d"', "null", "[]", "1e300", "NaN"], "examples": ["[1]", '["a","b"]', "[Infinity]"],
    "minimum": ["0", "-5", "1e18", '"1"', "true", "0.1"], "maximum": ["0", "-6", "100", "1e-5", "false", "null"],
    "exclusiveMinimum": ["true", "0", "99"], "exclusiveMaximum": ["0", "true", "1e15"],
    "multipleOf": ["0", "-1", "1e-300", "7", "0.1", "1e22"], "minLength": ["3", "1000000", "-1", '"a"'],
    "maxLength": ["0", "2", "-7", "1e9"], "pattern": ['"(a+)+$"', '"["', '"^[A-Z]{3}$"', "1"],
    "format": ['"date"', '"date-time"', '"time"', '"email"', '"uuid"', '"uri"', '"ipv4"', '"\\u0000"', '"duration"'],
    "minItems": ["0", "3", "1000000", "-1", '"x"'], "maxItems": ["0", "1", "100000"], "uniqueItems": ["true", "1"],
    "$ref": ['"#"', '"#/properties/a"', '"#/$defs/x/y"', '"http://x/"', "1", '"#/properties/a/properties/b"'],
    "required": ['["a","b"]', '["city","q",1,null]', '"a"', "{}"], "additionalProperties": ["false", "{}"],
    "description": ['"Город отправления"', '"Дата"', '"число людей"', '"ISO 8601"', "null", '["x"]'],
    "nullable": ["true", "1"]}
NESTED = ["items", "not", "contains", "allOf", "anyOf", "oneOf", "prefixItems", "properties", "$defs"]
KINDS = [
    '"string"', '"string"', '"integer"', '"number"', '"boolean"', '"array"', '"object"', '"null"', '"date"', "[]",
    '["string","null"]', '["null"]', "null"]
RESULTS = [  # of functions
    '{"error":"нет"}', '{"errors":[{"a":[[[[1]]]]}]}', '{"result":[]}', '{"data":{"items":[{"a":1,"b":null},[],true]}}',
    "{}", '{"a":' * 90 + "[1,2]" + "}" * 90, "[" * 300 + "]" * 300, "plain text", '{"date":"2025-01-31","price":1e300}']
PARAMETERS = [
    "city", "a", "b", "дата", "time", "email", "count", "fromCity", "to_date", "", "q" * 300, "items", "user.name"]
CHATS.append(json.dumps({"model": "GigaChat-2-Max", "function_call": "auto", "stream": True, "messages": [
    {"role": "user", "content": "Нарисуй картинку и расскажи о ней"}]}))
PARTS_ASKED = {"role": "user", "content": [{"text": "Какая погода в Москве?"}]}
PARTS_CALLED = [
    {"role": "assistant", "tools_state_id": str(uuid.UUID(int=5)), "content": [
        {"function_call": {"id": "1", "name": "get_weather", "arguments": {"city": "Москва"}}}]},
    {"role": "tool", "content": [{"function_result": {"name": "get_weather", "result": {"temperature": -5}}}]}]
SPECIFIED = [{"functions": {"specifications": FUNCTIONS}}]
PRIMARY = [json.dumps(dict(body, model="GigaChat-2-Max")) for body in (
    {"messages": [{"role": "user", "content": [{"text": "Привет! Кто ты?"}]}]},
    {"messages": [{"role": "user", "content": [{"text": "Расскажи о Байкале"}]}], "stream": True},
    {"messages": [PARTS_ASKED], "tools": SPECIFIED, "stream": True},
    {"messages": [PARTS_ASKED], "tools": SPECIFIED, "tool_config": {"mode": "forced", "function_name": "order"}},
    {"messages": [PARTS_ASKED, *PARTS_CALLED], "tools": SPECIFIED},
    {"messages": [{"role": "user", "content": [{"text": "Нарисуй кота"}, {"files": [{"id": "{file}"}]}]}],
     "tools": [{"image_generate": {}}, {"web_search": {"type": "web_search"}}, {"url_content_extraction": {}}],
     "tool_config": {"mode": "auto"}, "stream": True},
    {"messages": [{"role": "user", "content": [{"text": "Последние новости"}]}], "tools": [{"web_search": {}}],
     "user_info": {"timezone": "Europe/Moscow"}, "disable_filter": True, "storage": {"thread_id": "{thread}"},
     "assistant_id": "{assistant}", "ranker_options": {"enabled": True, "top_n": 3}, "flags": ["x"]},
    {"messages": [{"role": "user", "content": [{"text": "Номер?"}]}], "model_options": {
        "response_format": {"type": "regex", "regex": "[A-Z]{3}-\\d{4}"}, "temperature": 0.5, "max_tokens": 100}},
    {"messages": [{"role": "user", "content": [{"text": "Сколько?"}]}], "model_options": {
        "response_format": {"type": "json_schema", "strict": True, "schema": FUNCTIONS[0]["parameters"]},
        "reasoning": {"effort": "low"}, "update_interval": 1, "top_logprobs": 3}, "stream": True},
)]
EXTRA = ["extra", "tools", "id", "n", "text", "files", "stream", "", "attachments", "name", "ключ"]
REGEXES = [  # and what had better be none
    "(a+)+$", "[", "(", ")", "a{1000}{1000}", "(((a{999}){999}){999}){999}", "\\", "[^\\x00-\\uffff]",
    "(?P<a>b)(?P=a)\\1", "(?i)a|b|", "[a-", "[]a]", "[z-a]", "a**", "x{2,1}", "(?<!a)b(?=c)", "(?", "{", "a{,}",
    "\\u12", "\\x", "[\\d-]", "(" * 60 + ")" * 60, "a|" * 3000, "." * 6000, "\\p{L}+", "^$", "", "[\\ud800-\\udfff]",
    "²{2}", "\\²"]
OPENAPI = json.dumps({
    "openapi": "3.0.0", "paths": {"/sms/{version}": {
        "parameters": [{"name": "version", "in": "path", "required": True, "schema": {"type": "string"}}],
        "post": {
            "operationId": "send_sms", "description": "Отправляет SMS", "requestBody": {"content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Sms"}}}},
            "responses": {"200": {"content": {"application/json": {"schema": {"type": "object", "properties": {
                "status": {"type": "boolean"}, "next": {"$ref": "#/components/schemas/Loop"}}}}}}}}}},
    "components": {"schemas": {
        "Sms": {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}},
        "Loop": {"type": "object", "properties": {"again": {"$ref": "#/components/schemas/Loop"}}}}}})
LINES = [
    '{"id":"1","request":{"model":"GigaChat","messages":[{"role":"user","content":"2 + 2"}]}}',
    '{"id":"2","request":{"model":"Nope","messages":[]}}', '{"id":"3","request":{"model":"Embeddings","input":["а"]}}',
    '{"id":"1"}', "{}", "", "x", "[]", '{"id":4,"request":{}}',
    '{"id":"5","request":{}}', '{"id":"","request":{"n":1}}']
THREADED = [json.dumps({"messages": [{"role": "user", "content": "Расскажи о Байкале"}], **body}) for body in (
    {"model": "GigaChat"}, {"thread_id": "{thread}"}, {"assistant_id": "{assistant}"}, {"thread_id": "{thread}"})]
RUNS = [json.dumps({"thread_id": "{thread}", **body}) for body in (
    {}, {"stream": True}, {"assistant_id": "{assistant}", "temperature": 1.5, "limit": 3, "max_tokens": 5},
    {"functions": FUNCTIONS, "function_call": "auto", "profanity_check": True, "stream": True, "update_interval": 1})]
ASSISTANT = {
    "name": "а", "instructions": "Отвечай", "metadata": {"a": 1}, "file_ids": ["{file}"], "functions": FUNCTIONS}
BODIES = {
    "chat": CHATS,
    "primary": PRIMARY,
    "check": ['{"model":"GigaCheckDetection","input":"%s"}' % ("Слово за слово, вот так и пишут. " * 9)],
    "validate": list(map(json.dumps, FUNCTIONS)),
    "convert": [OPENAPI],
    "assistant": [json.dumps(dict(ASSISTANT, model="GigaChat-2-Max"))],
    "modify": [json.dumps(dict(ASSISTANT, assistant_id="{assistant}", description="д"))],
    "dismiss": ['{"assistant_id":"{assistant}"}', '{"assistant_id":"x"}'],
    "detach": ['{"assistant_id":"{assistant}","file_id":"{file}"}', '{"assistant_id":"x","file_id":"x"}'],
    "thread": ["{}"],
    "retrieve": ['{"threads_ids":["{thread}","x"]}'],
    "forget": ['{"thread_id":"{thread}"}', '{"thread_id":"x"}'],
    "add": THREADED,
    "ask": THREADED + [json.dumps(dict(json.loads(THREADED[0]), functions=FUNCTIONS, stream=True))],
    "run": RUNS,
    "rerun": RUNS,
    "embeddings": ['{"model":"Embeddings","input":["раз","два"]}', '{"model":"EmbeddingsGigaR","input":"мыла раму"}'],
    "count": ['{"model":"GigaChat","input":["раз","two three"]}', '{"model":"GigaChat-2","input":"раз"}'],
}
TYPES = [
    "application/json", "application/json; charset=utf-8", "text/plain", "multipart/form-data", "json",
    "multipart/form-data; boundary=", 'multipart/form-data; boundary="a', "application/x-www-form-urlencoded",
    "application/octet-stream", ";", "a" * 3000, "multipart/mixed; boundary=x", "application/json; charset=utf-16",
    "multipart/form-data; boundary*=utf-8''%ff; boundary*0=a", "multipart/form-data; " + ";" * 2000, "\xff/\xff"]
PARTS = [  # heads of the parts of an upload
    'Content-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n',
    'Content-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n',
    'Content-Disposition: form-data; name="purpose"\r\n', 'Content-Disposition: form-data; name="purpose"\r\n',
    "Content-Disposition: form-data; name=file; filename=\r\n", "Content-Disposition: form-data\r\n", "",
    "no colon\r\n",
    "content-disposition: form-data; name=\"file\"; filename*=utf-8''%d0%b6%ff%zz\r\ncontent-type: image/jpeg; a=b\r\n",
    'Content-Disposition: form-data; name="file"; filename="\\"a\r\n b\\\\"\r\nContent-Type: text/plain\r\n x: y\r\n',
    'Content-Disposition: attachment; filename="../../etc/x\0"; name="file"\r\nContent-Type: application/pdf\r\n',
    'Content-Disposition: form-data; name="file"; filename="a"\r\nContent-Type: text/plain\x0bX-Forged: 1\r\n',
    'Content-Disposition: form-data; name="file"; filename="=?utf-8?b?/w==?="\r\nContent-Type: =?x?q?=ff?=\r\n',
    'Content-Disposition: form-data; name="file"; filename="a"\r\nContent-Type: text/a\r\nContent-Type: audio/mp4\r\n',
    'Content-Disposition: form-data; name="file"; filename="\xff"\r\nContent-Transfer-Encoding: base64\r\n',
    'Content-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: multipart/mixed; boundary=x\r\n']
LENGTHS = [
    "-1", "+1", "0x1", "1_0", "", "1, 1", "1 1", "99", "9" * 17, "9" * 30, "1e1", "\xb2", "3000000000", "0" * 500]
NAMES = ["X-Request-ID", "X-Session-ID", "X-Client-ID", "Accept", "Cookie", "TE", "X", "!#$%&'*+-.^_`|~"]
VALUES = ["", "a", "1", "a" * 3000, "a, b", "a" + " " * 500 + "b", "\t", "\xff\xfe", "0" * 40, "\t " * 5000 + "b"]
CODINGS = ["gzip", "chunked, chunked", "identity", "", "chunked;q=1", "x, chunked", "CHUNKED\x0b"]
CHUNKS = [
    b"", b"zz\r\n", b"-1\r\n", b"0x1\r\na\r\n", b"fffffff\r\n", b"fffffffffffffffff\r\n", b"3\r\nab\r\n0\r\n\r\n",
    b"1\r\nabc\r\n", b"\r\n", b"1;" + b"x" * 5000 + b"\r\na\r\n", b"1 1\r\na\r\n", b"1\r\na", b"0\r\n",
    b"0\r\n" + b"a: b\r\n" * 2000, b"1\r\na\r\n" * 50]
LUMPS = [  # what is thrown into a request
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b": ", b"HTTP/1.1", b"HTTP/1.0", b"\r\n\r\n", b" " * 3000,
    b"\t \x0b" * 900, b"\x16\x03\x01", b"\xff" * 9, b"a" * 70000, b"a:b\r\n" * 15000, b" \r\n", b"\r\n ",
    b"Content-Length: 5\r\n", b"a" * 3000, b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n",
    b"Expect: 100-continue\r\n", b" " * 60000, b"\r\n" * 3000, b": " + b" " * 900 + b"\0\r\n", b"Upgrade: h2c\r\n",
    b"X-Request-ID: a\x01\x0bb\x7f\r\n", b"x-session-id: \x1c\x85\r\n", b"X-Request-ID: a\rB: c\r\n",
    b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]


def walk(value: Any) -> Iterator[tuple[Any, Any]]:
    """Go through every place inside a JSON value, as its container and its key there."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from walk(value[key])


class Generator:
    """Draw cases; the same random numbers and what is known give the same ones."""

    def __init__(self, rng: random.Random, known: Known) -> None:
        self._rng, self._known = rng, known
        self._raw: list[str] = []

    def _chance(self, share: float) -> bool:
        return self._rng.random() < share

    def _noise(self, size: int) -> bytes:
        return self._rng.getrandbits(8 * size + 1).to_bytes(size + 1, "big")[1:]

    def draw(self) -> Case:
        """Return a case of any kind."""
        pick, end = self._rng.random(), self._rng.choice(["half", "half", "half", "leave", "reset"])
        if pick < 0.03:
            case = Case([], self._noise(self._rng.choice([1, 5, 50, 500, 5000])), end, bare=self._chance(0.5))
        elif pick < 0.06:
            case = Case([], self._break_framing(), end)
        elif pick < 0.12:
            case = Case([], self._spoil(self._request().data), end)
        else:
            pieces = [self._request() for _ in range(self._rng.choice([1, 1, 2, 3, 5, 8, 12]))]
            if self._chance(0.1):
                pieces.append(self._request(last=True))
                case = Case(pieces)
            elif self._chance(0.02):
                case = Case(pieces, self._spoil(pieces[0].data), end)
            else:
                case = Case(pieces, end=end if self._chance(0.02) else "")
        # A HEAD that nobody knows of would make its answer look cut off.
        case = case._replace(rest=case.rest.replace(b"HEAD", b"GET"))
        if not self._chance(0.1):
            return case
        cuts = {self._rng.randrange(len(case.data) or 1) for _ in range(self._rng.choice([1, 2, 10]))}
        return case._replace(cuts=tuple(sorted(cuts)))

    # -- Bytes that are no request

    def _spoil(self, data: bytes) -> bytes:
        """Change a few places of a request, rather in its head."""
        for _ in range(self._rng.choice([1, 1, 2, 5])):
            head = max(data.find(b"\r\n\r\n"), 0) + 4
            at = self._rng.randrange(len(data) + 1 if self._chance(0.3) else head)
            if self._chance(0.4):  # at the beginning of a line
                at = data.find(b"\n", at) + 1
            kind, size = self._rng.randrange(5), self._rng.choice([1, 1, 2, 10])
            put = (b"", self._noise(size), self._rng.choice(LUMPS), data[at:at + 40] * size, b"")[kind]
            data = data[:at] if kind == 4 else data[:at] + put + data[at + (size if kind < 2 else 0):]
        return data

    def _break_framing(self) -> bytes:
        length, coding = self._rng.choice(LENGTHS), self._rng.choice(CODINGS)
        head = b"POST /v1/token HTTP/1.1\r\nUser-Agent: a\r\n"
        kind = self._rng.randrange(5)
        if kind < 2:
            head += self._latin(f"Content-Length: {length}\r\n")
        if kind == 1:
            head += self._latin(f"Content-Length: {self._rng.choice(LENGTHS)}\r\n")
        if kind == 2:
            head += self._latin(f"Transfer-Encoding: {coding}\r\n")
        if kind > 2:
            head += b"Transfer-Encoding: chunked\r\n" + (b"Content-Length: 5\r\n" if kind == 4 else b"")
        if self._chance(0.1):
            head += b"Expect: 100-continue\r\n"
        return head + b"\r\n" + b"".join(self._rng.choice(CHUNKS) for _ in range(self._rng.choice([0, 1, 3])))

    # -- Whole requests

    def _request(self, last: bool = False) -> Piece:
        """Return a request to a route; of any method, path and body, where it is to be odd."""
        route = self._rng.choice(DRAWN)
        method, path = ROUTES[route]
        content_type, body = self._body(route)
        target = path.replace("{}", self._id(route))
        query = self._rng.choice(QUERIES.get(route, [""]))
        target += "?" + self._fill(query) if query else ""
        if self._chance(0.5):
            target = target.replace("/v1/", "/api/v1/", 1)
        if self._chance(0.05):
            method = self._rng.choice(METHODS)
        if self._chance(0.03):
            target = self._rng.choice(PATHS)
        if self._chance(0.05):
            content_type = self._rng.choice(TYPES)
        fields = self._fields(route)
        if body or (content_type and self._chance(0.5)):
            fields.append(("Content-Type", content_type))
        framing, body = self._frame(body)
        closes, version = self._ending(fields) if last else (False, "1.1")
        return Piece(self._head(f"{method} {target} HTTP/{version}", fields + framing) + body, method, route, closes)

    def _head(self, first: str, fields: list[tuple[str, str]]) -> bytes:
        self._rng.shuffle(fields)
        end = "\n" if self._chance(0.03) else "\r\n"
        if self._chance(0.1):
            fields = [(name.upper(), f"\t {value} ") for name, value in fields]
        lines = [first, *(f"{name}: {value}" for name, value in fields), "", ""]
        return (b"\r\n" if self._chance(0.02) else b"") + self._latin(end.join(lines))

    def _latin(self, text: str) -> bytes:
        return text.encode("latin-1", "replace")

    def _ending(self, fields: list[tuple[str, str]]) -> tuple[bool | None, str]:
        """Add what makes a request the last of its connection; return what will be, and the version of HTTP."""
        kind = self._rng.randrange(3)
        if kind == 0:
            fields.append(("Connection", self._rng.choice(["close", "Close", "close, TE", "keep-alive, close"])))
        elif kind == 1:
            fields.append(("Connection", "Keep-Alive"))
        return (None if kind == 1 else True), ("1.0" if kind else "1.1")

    def _frame(self, body: bytes) -> tuple[list[tuple[str, str]], bytes]:
        fields = [("Expect", "100-continue")] if body and self._chance(0.02) else []
        if not self._chance(0.12):
            return ([*fields, ("Content-Length", str(len(body)))] if body or self._chance(0.3) else fields), body
        step = self._rng.choice([1, 7, 100, 4096]) if len(body) < 5000 else 4096
        form = self._rng.choice([b"%x\r\n", b"%X\r\n", b"%06x\r\n", b"%x;a=b\r\n", b"%x ; a=\"b\"\r\n", b"%x\n"])
        chunks = [body[at:at + step] for at in range(0, len(body), step)]
        end = self._rng.choice([b"0\r\n\r\n", b"000\r\n\r\n", b"0;x\r\nTrailer: a\r\nB: c\r\n\r\n"])
        framed = b"".join(form % len(chunk) + chunk + b"\r\n" for chunk in chunks) + end
        return [*fields, ("Transfer-Encoding", self._rng.choice(["chunked", "Chunked"]))], framed

    def _fields(self, route: str) -> list[tuple[str, str]]:
        fields = [("Host", "x")]
        if not self._chance(0.02):
            fields.append(("User-Agent", "fuzz"))
        authorization = self._authorization(route)
        if authorization is not None:
            fields.append(("Authorization", authorization))
        if route == "oauth" and not self._chance(0.05):
            rquid = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
            fields.append(("RqUID", rquid if not self._chance(0.1) else self._value()))
        while self._chance(0.2):
            fields.append((self._rng.choice(NAMES), self._value()))
        return fields

    def _value(self) -> str:
        """Return any value that a header may have."""
        kind = self._rng.randrange(4)
        if kind == 0:
            return self._rng.choice(VALUES)
        text = re.sub(r"[\x00-\x1f\x7f]", "?", self._noise(self._rng.choice([1, 8, 60])).decode("latin-1"))
        return str(uuid.UUID(int=self._rng.getrandbits(128))) if kind == 1 else text.strip()

    def _authorization(self, route: str) -> str | None:
        basic = self._known.credentials
        if route == "token":
            basic = base64.b64encode(b"emulator:offline").decode("ascii")
        good = f"Basic {basic}" if route in ("oauth", "token") else f"Bearer {self._known.good}"
        if not self._chance(0.1):
            return good
        encoded = base64.b64encode(self._noise(self._rng.choice([0, 1, 30]))).decode("ascii")
        return self._rng.choice([
            None, "", "Basic", "Bearer", f"Bearer {basic}", f"Basic {self._known.good}", f"bearer  {self._known.good}",
            f"Bearer {self._known.expired}", f"Basic {encoded}", "Basic ====", "Basic a", self._value(), "Basic \xff"])

    def _fill(self, text: str, route: str = "") -> str:
        """Put ids that there are in the places for them; seldom where they would end with that."""
        if route in GONE and self._chance(0.9):
            return text
        for name, ids in (("file", self._known.files), ("thread", self._known.threads),
                          ("assistant", self._known.assistants)):
            text = text.replace("{%s}" % name, self._rng.choice(ids)) if ids else text
        return text

    def _id(self, route: str) -> str:
        if self._chance(0.05 if route == "delete" else 0.5):
            return self._rng.choice(["GigaChat", "Embeddings-2"] if route == "model" else self._known.files)
        return self._rng.choice(IDS) if self._chance(0.9) else str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    # -- Bodies

    def _body(self, route: str) -> tuple[str, bytes]:
        """Return the type of a body and the body; whatever else it is, the type is right."""
        if self._chance(0.06):
            return "application/json", self._any_bytes()
        if route in BODIES:
            return "application/json", self._json(self._fill(self._rng.choice(BODIES[route]), route))
        if route == "batch":
            return "application/octet-stream", self._batch()
        if route == "oauth":
            form = "scope=" + SCOPE if self._chance(0.6) else self._rng.choice([
                "", "scope", "scope=", "scope=X", "scope=%ff%00", "&&;==", "scope=GIGACHAT_API_PERS", "%=%&%zz=%z",
                "scope=GIGACHAT_API_PERS&scope=GIGACHAT_API_B2B", "a=b&" * 900, "scope=\xff"])
            return "application/x-www-form-urlencoded", self._latin(form)
        if route == "upload":
            return self._upload()
        return ("application/json", b"{}") if self._chance(0.2) else ("", b"")

    def _batch(self) -> bytes:
        """Return lines of requests, most of them good."""
        lines = [self._rng.choice(LINES[:3]) for _ in range(self._rng.choice([1, 1, 2, 5]))]
        if self._chance(0.5):
            lines.append(self._rng.choice(LINES))
        asked = [line.replace('"id":"', f'"id":"{place}-') for place, line in enumerate(lines)]
        text = [self._json(line) if line[:2] == '{"' and self._chance(0.3) else line.encode("utf-8") for line in asked]
        return b"\n".join(text) + self._rng.choice([b"", b"\n", b"\r\n\r\n"])

    def _any_bytes(self) -> bytes:
        kind = self._rng.randrange(3)
        if kind == 0:
            return self._noise(self._rng.choice([0, 1, 10, 1000]))
        text = self._rng.choice(RAW + ODD) if kind == 1 else self._text()
        return text.encode(self._rng.choice(["utf-8", "utf-16", "utf-8-sig"]), "surrogatepass")

    def _json(self, template: str) -> bytes:
        """Return a body made from a good one, often with a few places changed."""
        del self._raw[:]
        value = json.loads(template)
        if self._chance(0.2) and "functions" in value and "messages" in value:
            self._describe(value)
        if self._chance(0.3) and "tools" in value:
            self._specify(value)
        if self._chance(0.7) and "regex" in template:
            value["model_options"]["response_format"]["regex"] = self._rng.choice(REGEXES) + self._text()[:5]
        if self._chance(0.1) and "messages" in value:
            value["messages"][-1]["attachments"] = [self._rng.choice(self._known.files)]
        for _ in range(self._rng.choice([0, 1, 1, 1, 2, 4, 9])):
            self._mutate(value)
        compact = (",", ":") if self._chance(0.5) else None
        text = json.dumps(value, ensure_ascii=self._chance(0.5), separators=compact)
        if self._raw:
            text = re.sub(r'"\\u0000raw(\d+)\\u0000"', lambda match: self._raw[int(match.group(1))], text)
        return text.encode("utf-16" if self._chance(0.01) else "utf-8", "surrogatepass")

    def _describe(self, chat: Any) -> None:
        """Give a chat functions, a question and results that nobody would, and that the API's rules let through."""
        function = chat["functions"][0]
        for name in ("parameters", "return_parameters"):
            function[name] = {"type": "object", "properties": self._properties(), "required": ["city", "a"]}
        function["few_shot_examples"] = [{"request": self._text(), "params": {"city": self._text(), "a": self._odd()}}]
        chat["messages"][0]["content"] = self._text()
        if len(chat["messages"]) > 1:
            result = self._rng.choice(RESULTS) if self._chance(0.5) else json.dumps(self._odd())
            chat["messages"][-1]["content"] = result
        elif self._chance(0.7):
            chat["function_call"] = {"name": function["name"], "partial_arguments": {"b": self._odd()}}
        if self._chance(0.5):
            chat["response_format"] = {"type": "json_schema", "schema": self._schema(0)}

    def _specify(self, chat: Any) -> None:
        """Give a chat of the second version what `_describe` gives one of the first."""
        function = FUNCTIONS[0]["name"]
        parameters = {"type": "object", "properties": self._properties(), "required": ["city", "a"]}
        chat["tools"] = [{"functions": {"specifications": [{"name": function, "parameters": parameters}]}}]
        chat["tool_config"] = {"mode": "forced", "function_name": function}
        chat["messages"][0]["content"] = [{"text": self._text()}, {"text": self._text()}]
        if len(chat["messages"]) > 1:
            result = self._rng.choice(RESULTS) if self._chance(0.5) else self._odd()
            chat["messages"][-1]["content"] = [{"function_result": {"name": function, "result": result}}]

    def _properties(self, depth: int = 0) -> dict[str, Any]:
        names = self._rng.sample(PARAMETERS, self._rng.choice([1, 2, 3, 6]))
        return {name: self._schema(depth + 1) for name in names}

    def _schema(self, depth: int) -> Any:
        """Return a schema that could be one at first sight."""
        kind = json.loads(self._rng.choice(KINDS))
        schema: dict[str, Any] = {} if kind is None else {"type": kind}
        if kind == "object":
            schema["properties"] = self._properties(depth + 1) if depth < 5 else {}
        for key in self._rng.sample(list(KEYWORDS), self._rng.choice([0, 0, 1, 2, 5])):
            schema[key] = json.loads(self._rng.choice(KEYWORDS[key])) if self._chance(0.95) else self._odd()
        if self._chance(0.3) and depth < 5:
            key = self._rng.choice(NESTED)
            if key in ("properties", "$defs"):
                schema[key] = self._properties(depth + 1)
            else:
                inner = [self._schema(depth + 1) for _ in range(2)]
                schema[key] = inner if key in ("allOf", "anyOf", "oneOf", "prefixItems") else inner[0]
        return schema

    def _mutate(self, value: Any) -> None:
        """Change one place of a JSON value."""
        places = list(walk(value))
        if not places:
            return
        place, key = self._rng.choice(places)
        kind = self._rng.randrange(10)
        if kind < 5:
            place[key] = self._odd()
        elif kind == 5:
            del place[key]
        elif kind == 6:
            if isinstance(place, dict):
                place[self._rng.choice(EXTRA)] = self._odd()
            else:
                place.append(self._odd())
        elif kind == 7 and isinstance(place, dict):  # the same key twice
            place[key] = self._keep(f"{json.dumps(place[key])},{json.dumps(key)}:{json.dumps(self._odd())}")
        elif kind == 8 and isinstance(place[key], list):
            place[key] = json.loads(json.dumps(place[key] * self._rng.choice([2, 3, 20])))
        else:
            donor, other = self._rng.choice(places)
            with contextlib.suppress(LookupError):
                place[key] = json.loads(json.dumps(donor[other]))

    def _keep(self, text: str) -> str:
        """Return what stands for a piece of raw JSON until the value is written."""
        self._raw.append(re.sub(r'"\\u0000raw\d+\\u0000"', "0", text))
        return f"\0raw{len(self._raw) - 1}\0"

    def _odd(self) -> Any:
        pick = self._rng.random()
        if pick < 0.1:
            return self._keep(self._rng.choice(RAW))
        if pick < 0.2:
            return [self._rng.choice(self._known.files)] * self._rng.choice([1, 2])
        return self._text() if pick < 0.5 else json.loads(self._rng.choice(ODD))

    def _text(self) -> str:
        """Return a text with a meaning or without; one in thousands is long enough to show what is slow."""
        times, parts = [1, 1, 1, 2, 9, 60], range(self._rng.choice([1, 1, 2, 5]))
        text = "".join(self._rng.choice(TEXTS) * self._rng.choice(times) for _ in parts)
        return text * (1 + 20000 // len(text)) if self._chance(0.003) else text

    def _upload(self) -> tuple[str, bytes]:
        boundary = "x" if self._chance(0.9) else self._rng.choice(
            ["", "-", "--", "a b", "(.*)", "\\", "x" * 200, "\xff", '"'])
        end = b"\r\n" if self._chance(0.95) else b"\n"
        picks = [0, 2] if self._chance(0.4) else self._rng.choices(
            range(len(PARTS)), k=self._rng.choice([0, 1, 2, 3, 20]))
        parts = []
        for pick in picks:
            content = self._noise(self._rng.choice([0, 1, 30, 900]))
            if pick in (2, 3) and self._chance(0.8):
                content = b"general"
            parts.append(self._latin("--" + boundary) + end + self._latin(PARTS[pick]) + end + content + end)
        body = b"".join([*parts, self._latin("--" + boundary), b"--" + end])
        if self._chance(0.1):
            body = self._spoil(body)
        quote = self._chance(0.3)
        return "multipart/form-data; boundary=" + (f'"{boundary}"' if quote else boundary), body


# ---- Answers: what comes back, read by a strict reader


class Answer(NamedTuple):
    """Hold an answer whose framing was right."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        """Tell whether it announces the end of the connection."""
        return self.headers.get("connection") == "close"


_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [ -~]*")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\t -~\x80-\xff]*)")


class Wire:
    """Be one connection to the emulator."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self._buffer = sock, b""

    def _fill(self) -> bool:
        try:
            data = self.sock.recv(262144)
        except socket.timeout:
            raise Violation(f"no answer within {PATIENCE:.0f} s") from None
        except ssl.SSLError:  # it says what it thinks of an end without notice
            data = b""
        except OSError as exc:
            raise Violation(f"the connection broke: {exc!r}") from None
        self._buffer += data
        return bool(data)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            if not self._fill():
                raise Violation(f"an answer that breaks off: {self._buffer[:200]!r}")
        data, _, self._buffer = self._buffer.partition(mark)
        return data

    def _exactly(self, size: int) -> bytes:
        parts, self._buffer = [self._buffer], b""
        missing = size - len(parts[0])
        while missing > 0:
            if not self._fill():
                raise Violation(f"a body that breaks off {missing} bytes before its end")
            parts.append(self._buffer)
            missing, self._buffer = missing - len(self._buffer), b""
        data = b"".join(parts)
        self._buffer = data[size:]
        return data[:size]

    def at_end(self) -> bool:
        """Tell whether the emulator has closed the connection, with nothing to read but that it was ready for more."""
        if not self._buffer and not self._fill():
            return True
        ready = b"HTTP/1.1 100 Continue\r\n\r\n"
        while ready.startswith(self._buffer) and self._fill():
            pass
        return self._buffer == ready and not self._fill()

    def is_alert(self) -> bool:
        """Tell whether the answer speaks of TLS."""
        return not self.at_end() and self._buffer[:1] == b"\x15"

    def read_answer(self, method: str) -> Answer:
        """Read one answer; that the emulator is ready for a body comes before the real one."""
        first, *lines = self._until(b"\r\n\r\n").split(b"\r\n")
        if first == b"HTTP/1.1 100 Continue" and not lines:
            return self.read_answer(method)
        status, fields = _STATUS_LINE.fullmatch(first), [_FIELD.fullmatch(line) for line in lines]
        if status is None or None in fields:
            raise Violation(f"no head of an answer: {[first, *lines]!r}")
        pairs = [(f.group(1).decode("ascii").lower(), f.group(2).decode("latin-1")) for f in fields if f]
        headers = dict(pairs)
        if len(headers) < len(pairs) or headers.get("connection") not in ("close", "keep-alive"):
            raise Violation(f"headers that contradict each other: {pairs}")
        return Answer(int(status.group(1)), headers, self._read_body(headers, method))

    def _read_body(self, headers: dict[str, str], method: str) -> bytes:
        length, coding = headers.get("content-length"), headers.get("transfer-encoding")
        if length is not None and re.fullmatch("[0-9]+", length) and coding is None:
            return self._exactly(0 if method == "HEAD" else int(length))
        if length is not None or coding not in ("chunked", None):
            raise Violation(f"no framing that there is: {headers}")
        if coding is None:
            while self._fill():
                pass
            return self._exactly(len(self._buffer))
        parts = []
        while not parts or parts[-1]:
            size = self._until(b"\r\n")
            if not re.fullmatch(rb"[0-9a-f]+", size):
                raise Violation(f"no size of a chunk: {size[:100]!r}")
            parts.append(self._exactly(int(size, 16)))
            if self._exactly(2) != b"\r\n":
                raise Violation("a chunk that does not end where it said")
        return b"".join(parts)


def read_json(data: bytes) -> Any:
    """Return what is JSON to everybody: UTF-8, and no NaN."""
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")
    return json.loads(data.decode("utf-8"), parse_constant=refuse)


def check_answer(answer: Answer, method: str, route: str = "") -> None:
    """Raise `Violation` where the content is not what its type says."""
    kind, body = answer.headers.get("content-type", ""), answer.body
    if answer.status not in STATUSES:
        raise Violation(f"a status that there is no reason for: {answer.status} {body[:300]!r}")
    try:
        if method == "HEAD":
            pass
        elif route == "forget" and answer.status == 200 and not body:
            pass  # nothing is said of a thread that is no more
        elif kind.startswith("application/json"):
            value = read_json(body)
            if answer.status != 200:
                right = value.get("status", value.get("code", answer.status)) in (answer.status, *range(1, 10))
                assert right and isinstance(value["message"], str), "an error of another form"
        elif kind == "text/event-stream":
            check_stream(body)
        elif kind == "text/html":
            assert answer.status != 200 and body.startswith(b"<html>") and body.endswith(b"</html>\r\n"), "no page"
        else:
            assert route in ("content", "") and answer.status == 200, f"an unexpected type, {kind}"
    except (AssertionError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise Violation(f"{exc!r} in {kind}, status {answer.status}: {body[:300]!r}") from None


def check_stream(body: bytes) -> None:
    """Fail where a stream is not events of one `data:` line each, `[DONE]` the last, or named ones, "done" the last."""
    if body.startswith(b"event: "):
        events = [re.fullmatch(rb"event: response\.([a-z._]+)\ndata: ({[^\r\n]+})", event)
                  for event in body.split(b"\n\n")[:-1]]
        assert body.endswith(b"}\n\n") and None not in events, "no named events"
        names = [event.group(1) for event in events if event]
        assert names.count(b"message.done") == 1 and names[-1] == b"message.done", "a stream without its end"
        assert all(read_json(event.group(2))["model"] for event in events if event), "no model"
        return
    *events, done, nothing = body.split(b"\n\n")
    assert done == b"data: [DONE]" and nothing == b"" and events, "a stream without its end"
    for event in events:
        assert event.startswith(b"data: ") and b"\n" not in event and b"\r" not in event, "no event"
        assert isinstance(read_json(event[6:])["choices"][0]["delta"], dict), "no delta"


# ---- Targets: the emulator, here or in another process


class Here:
    """Be an emulator in this process."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self.address, self.credentials = (emulator.host, emulator.port), emulator.credentials
        self.ca_bundle_file = emulator.ca_bundle_file

    def expire_tokens(self) -> None:
        """Let every token so far be too old."""
        self._emulator.expire_tokens()

    def tidy(self) -> int:
        """Drop what piles up, requests and files; return how many threads and, where it shows, open files there are."""
        self._emulator.requests.clear()
        self._emulator.clear()
        return threading.active_count() + (len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0)

    def printed(self) -> str:
        """Return what it has printed; here that is for the caller to see."""
        return ""


class Elsewhere:
    """Be an emulator in a process of its own, for as long as the `with` lasts; a line of JSON answers each order."""

    def __init__(self, tls: bool) -> None:
        command = [sys.executable, "-X", "faulthandler", __file__, "--serve", *(["--tls"] if tls else [])]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)
        self._noise = ""
        address, self.credentials, self.ca_bundle_file = self._order("")
        self.address = tuple(address)

    def __enter__(self) -> Elsewhere:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            out, _ = self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            out, _ = self._process.communicate()
            self._noise += "[it did not stop within 20 s]"
        self._noise += out.decode("utf-8", "replace")

    def _order(self, name: str) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            if name:
                self._process.stdin.write(name.encode("ascii") + b"\n")
                self._process.stdin.flush()
        except OSError:  # it has died, and its last words are to be read
            pass
        for line in iter(self._process.stdout.readline, b""):
            if line.startswith(b"\x01"):
                return json.loads(line[1:].decode("ascii"))
            self._noise += line.decode("utf-8", "replace")
        raise Violation(f"the emulator died with status {self._process.wait()}: {self._noise}")

    def expire_tokens(self) -> None:
        """Let every token so far be too old."""
        self._order("expire_tokens")

    def tidy(self) -> int:
        """Drop what piles up, requests and files; return how many threads and, where it shows, open files there are."""
        return int(self._order("tidy"))

    def printed(self) -> str:
        """Return what it has printed."""
        return self._noise


def serve(tls: bool) -> None:
    """Run an emulator that obeys the orders of its standard input, until that ends."""
    from gigachat_lite.emulator import Emulator
    with Emulator(tls=tls, token_lifetime=86400.0, scope=SCOPE) as emulator:
        here = Here(emulator)
        said: Any = [here.address, here.credentials, here.ca_bundle_file]
        while True:
            sys.stdout.write("\x01" + json.dumps(said) + "\n")
            sys.stdout.flush()
            line = sys.stdin.readline().strip()
            if not line:
                return
            said = getattr(here, line)()


# ---- The run


class Run:
    """Send cases to a target until one violates what was promised; `statuses` and `reached` count the answers."""

    def __init__(self, target: Any, seed: int) -> None:
        self._target, self.seed = target, seed
        self._context = None
        if target.ca_bundle_file:
            self._context = ssl.create_default_context(cafile=target.ca_bundle_file)
        self._wire: Wire | None = None
        self.sent = 0
        self.slowest = 0.0
        self.statuses: Counter[int] = collections.Counter()
        self.reached: Counter[tuple[str, int]] = collections.Counter()
        self._threads = target.tidy()
        self._known = Known(target.credentials, "", "", [], [], [])
        expired = self._log_in()
        target.expire_tokens()
        self._known = self._known._replace(expired=expired, good=self._log_in())
        self._health = self._look_after()

    def go(self, count: int, first: int = 0) -> None:
        """Send this many requests or a few more; `Violation` tells the case that should not have ended so."""
        checked, number = self.sent, first
        goal = self.sent + count
        while self.sent < goal:
            case = Generator(random.Random(f"{self.seed}:{number}"), self._known).draw()
            try:
                self._try(case)
                if self.sent - checked >= EVERY or self.sent >= goal:
                    checked = self.sent
                    if self._look_after() != self._health:
                        raise Violation("a chat is not what it was")
            except Violation as exc:
                raise Violation(
                    f"{exc}\ncase {number}, {self.sent} requests before it; to repeat it: --seed {self.seed} --first "
                    f"{number}\n{len(case.pieces)} whole requests, end {case.end!r}, writes cut at {case.cuts}:\n"
                    f"{self._show(case.data)}") from None
            number += 1

    def _show(self, data: bytes) -> bytes:
        """Return what was sent, for a report: with names for the tokens, which would be others another time."""
        data = data.replace(self._known.good.encode("ascii"), b"{good}")
        return data.replace(self._known.expired.encode("ascii"), b"{expired}")

    def close(self) -> None:
        """End the connection."""
        if self._wire is not None:
            self._wire.sock.close()
            self._wire = None

    # -- One case

    def _try(self, case: Case) -> None:
        """Send a case and check its answers; what was slow gets two more chances, for the machine may have been."""
        limit = LIMIT * (len(case.pieces) + 1)
        taken = self._exchange(case)
        for _ in range(2):
            if taken > limit:
                taken = min(taken, self._exchange(case, count=False))
        self.slowest = max(self.slowest, taken / (len(case.pieces) + 1))
        if taken > limit:
            raise Violation(f"{taken:.1f} s for {len(case.pieces)} requests")

    def _exchange(self, case: Case, count: bool = True) -> float:
        """Send a case, check its answers, and return the seconds from the first byte to the last."""
        if case.rest or self._wire is None:
            self.close()
            self._wire = self._connect(case.bare)
        wire, started = self._wire, time.monotonic()
        self._send(wire.sock, case)
        if case.end in ("leave", "reset"):
            self._leave(wire.sock, case.end == "reset")
        elif case.bare and wire.is_alert():
            self.close()
        else:
            self._read(wire, case, count)
        if count:
            self.sent += len(case.pieces) + bool(case.rest or not case.pieces)
        return time.monotonic() - started

    def _read(self, wire: Wire, case: Case, count: bool) -> None:
        """Read what every whole request is answered, and what the rest may be, to the end where there is to be one."""
        closed = False
        for piece in case.pieces:
            answer = self._check(wire.read_answer(piece.method), piece.method, piece.route, count)
            closed = answer.closes
            if piece.closes not in (closed, None):
                raise Violation(f"it {'closes' if closed else 'goes on'}, which nobody asked for: {answer}")
        while case.end and not closed and not wire.at_end():
            closed = self._check(wire.read_answer("GET"), "GET", "", count).closes
        if closed and not wire.at_end():
            raise Violation("it goes on after the end that it announced")
        if closed or case.end:
            self.close()

    def _check(self, answer: Answer, method: str, route: str, count: bool) -> Answer:
        check_answer(answer, method, route)
        if count:
            self.statuses[answer.status] += 1
            self.reached[route, answer.status] += 1
        return answer

    def _connect(self, bare: bool = False) -> Wire:
        sock = socket.create_connection(self._target.address, PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None and not bare:
            sock = self._context.wrap_socket(sock, server_hostname="localhost")
        return Wire(sock)

    def _send(self, sock: socket.socket, case: Case) -> None:
        data = case.data
        with contextlib.suppress(OSError):  # it may have refused and closed before it has read everything
            for start, end in zip([0, *case.cuts], [*case.cuts, len(data)]):
                sock.sendall(data[start:end])
            if case.end == "half":  # not the method of TLS, which would take its state away
                socket.socket.shutdown(sock, socket.SHUT_WR)

    def _leave(self, sock: socket.socket, reset: bool) -> None:
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    # -- Health

    def _ask(self, method: str, path: str, body: bytes = b"", **fields: str) -> Answer:
        usual = {"User_Agent": "fuzz", "Authorization": f"Bearer {self._known.good}", "Content_Length": str(len(body))}
        pairs = {**usual, **fields}.items()
        lines = [f"{method} {path} HTTP/1.1", *(f"{k.replace('_', '-')}: {v}" for k, v in pairs), "", ""]
        if self._wire is None:
            self._wire = self._connect()
        self._wire.sock.sendall("\r\n".join(lines).encode("ascii") + body)
        return self._wire.read_answer(method)

    def _log_in(self) -> str:
        answer = self._ask(
            "POST", "/api/v2/oauth", b"scope=" + SCOPE.encode("ascii"),
            Authorization=f"Basic {self._known.credentials}",
            RqUID=str(uuid.uuid4()), Content_Type="application/x-www-form-urlencoded")
        return str(read_json(answer.body)["access_token"])

    def _look_after(self) -> Any:
        """Return what real requests are answered, when every other caller is gone; three files await the next cases."""
        self.close()
        self._wait_for_threads()
        said = []
        asked = [("/v1/chat/completions", body) for body in CHATS]
        asked += [("/v2/chat/completions", body) for body in PRIMARY if not re.search("{(file|thread)}", body)]
        for path, body in asked:
            answer = self._ask("POST", path, body.encode("ascii"), Content_Type="application/json")
            check_answer(answer, "POST")
            new = rb'"created(_at)?":\d+|"(functions_state_id|tool_state_id|id)":"[^"]*"|img src=\\"[^"]*'
            said.append((answer.status, re.sub(new, b"", answer.body)))
        said.append((200, self._ask("GET", "/v1/models").body))
        upload = f"--x\r\n{PARTS[0]}\r\nabc\r\n--x\r\n{PARTS[2]}\r\ngeneral\r\n--x--\r\n".encode("ascii")
        form = "multipart/form-data; boundary=x"
        uploads = [self._ask("POST", "/v1/files", upload, Content_Type=form) for _ in range(3)]
        said += [(answer.status, b"") for answer in uploads]
        if [status for status, _ in said] != [200] * len(said):
            raise Violation(f"what is right is refused: {said}")
        assistants = [self._ask("POST", "/v1/assistants", b'{"model":"GigaChat","name":"a"}') for _ in range(3)]
        threads = [self._ask("POST", "/v1/threads/messages", THREADED[0].encode("ascii")) for _ in range(3)]
        self._known = self._known._replace(
            files=[read_json(answer.body)["id"] for answer in uploads],
            assistants=[read_json(answer.body)["assistant_id"] for answer in assistants],
            threads=[read_json(answer.body)["thread_id"] for answer in threads])
        if self._target.printed():
            raise Violation(f"it printed: {self._target.printed()}")
        return said

    def _wait_for_threads(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self._target.tidy() > self._threads:
            if time.monotonic() > deadline:
                raise Violation(f"{self._target.tidy() - self._threads} threads are left")
            time.sleep(0.002)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(description="Send arbitrary requests to the emulator.")
    parser.add_argument("count", type=int, nargs="?", default=1000, help="requests to send")
    parser.add_argument("--seed", type=int, help="repeat a run (any by default)")
    parser.add_argument("--first", type=int, default=0, help="begin with this case of the seed")
    parser.add_argument("--tls", action="store_true", help="over TLS, with throw-away certificates")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
    if options.serve:
        serve(options.tls)
        return 0
    seed = int.from_bytes(os.urandom(4), "big") if options.seed is None else options.seed
    started, target = time.monotonic(), None
    run, failed = None, ""
    try:
        with Elsewhere(options.tls) as target:
            run = Run(target, seed)
            run.go(options.count, options.first)
            run.close()
        if target.printed():
            failed = f"it printed: {target.printed()}"
    except Violation as exc:
        failed = str(exc)
    if run is not None:
        taken = time.monotonic() - started
        speed = f"{run.sent / taken:.0f} a second, the slowest {run.slowest:.3f} s"
        print(f"seed {seed}: {run.sent} requests in {taken:.1f} s, {speed}")
        print("answers: " + ", ".join(f"{status}: {number}" for status, number in sorted(run.statuses.items())))
    if failed:
        print(f"VIOLATION: {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
