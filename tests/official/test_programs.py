"""Run programs as the official package's documentation shows them, with either package: they print the same.

What ends or behaves otherwise on purpose is a row of FAULTS or HABITS, with its reason; a row that is true no more
fails.
"""
from __future__ import annotations

import contextlib
import contextvars
import importlib
import io
import re
import textwrap

import pytest

from gigachat_lite.emulator import Emulator
from official.test_requests import Lib, schema_model
from servers import CHAT_BODY, STREAM_BODY, Api, drop, refused, reply, sse

PACKAGES = ["gigachat", "gigachat_lite"]
CORP = "GIGACHAT_API_CORP"

# KEY, BASE_URL, AUTH_URL, USER and PASSWORD are given; the settings of the emulator are in the environment.
PROGRAMS = {
    "a question": """
        from gigachat import GigaChat

        with GigaChat(credentials=KEY, verify_ssl_certs=False) as giga:
            response = giga.chat("Какие факторы влияют на стоимость страховки на дом?")
            print(response.choices[0].message.content)
            print(response.choices[0].message.role, response.choices[0].finish_reason, response.choices[0].index)
            print(response.usage.prompt_tokens, response.usage.completion_tokens, response.usage.total_tokens)
            print(response.usage.precached_prompt_tokens, response.model, response.object_, response.created > 0)
            print(response.thread_id, response.message_id, sorted(response.x_headers))
        """,
    "a dialogue": """
        from gigachat import GigaChat
        from gigachat.models import Chat, Messages, MessagesRole

        payload = Chat(
            messages=[Messages(role=MessagesRole.SYSTEM, content="Ты внимательный собеседник.")],
            temperature=0.7,
            max_tokens=100,
        )
        with GigaChat(credentials=KEY, scope="GIGACHAT_API_PERS", model="GigaChat-2-Pro") as giga:
            for question in ["Меня зовут Анна", "Как меня зовут?"]:
                payload.messages.append(Messages(role=MessagesRole.USER, content=question))
                response = giga.chat(payload)
                payload.messages.append(response.choices[0].message)
                print("Bot:", response.choices[0].message.content)
        for message in payload.messages:
            print(f"{message.role}: {message.content}", message.role == MessagesRole.USER)
        print(payload.temperature, payload.max_tokens, payload.top_p, len(payload.messages))
        """,
    "a dialogue of dicts": """
        from gigachat import GigaChat

        client = GigaChat()
        messages = [{"role": "system", "content": "Отвечай коротко"}, {"role": "user", "content": "Сколько 2 + 2?"}]
        answer = client.chat({"messages": messages, "n": 2, "profanity_check": False,
                              "additional_fields": {"top_p": 0.5}})
        for choice in answer.choices:
            print(choice.index, choice.message.content)
        messages.append(answer.choices[0].message)
        messages.append({"role": "user", "content": "А 3 + 3?"})
        print(client.chat({"messages": messages, "max_tokens": 3}).choices[0].finish_reason)
        client.close()
        """,
    "a stream": """
        from gigachat import GigaChat
        from gigachat.models import Chat, Messages

        with GigaChat() as giga:
            for chunk in giga.stream("Расскажи о Байкале"):
                print(chunk.choices[0].delta.content, end="|", flush=True)
            print(chunk.choices[0].finish_reason, chunk.usage.total_tokens, chunk.object_, sorted(chunk.x_headers))
            chat = Chat(messages=[Messages(role="user", content="Напиши о море")], update_interval=0.1)
            first = next(iter(giga.stream(chat)))
            print(first.choices[0].delta.role.value, first.usage, first.choices[0].finish_reason)
        """,
    "functions by classes": """
        import json

        from gigachat import GigaChat
        from gigachat.models import Chat, Function, FunctionParameters, Messages, MessagesRole
        from gigachat.models.chat import FewShotExample, FunctionParametersProperty

        weather = Function(
            name="weather_forecast",
            description="Возвращает прогноз погоды в городе",
            parameters=FunctionParameters(
                type="object",
                properties={
                    "location": {"type": "string", "description": "Город"},
                    "days": FunctionParametersProperty(type="integer", description="На сколько дней"),
                },
                required=["location"],
            ),
            few_shot_examples=[FewShotExample(request="Погода в Твери?", params={"location": "Тверь"})],
            return_parameters={"type": "object", "properties": {"forecast": {"type": "string"}}},
        )
        print(weather.name, weather.parameters.type_, weather.parameters.required)
        print(weather.parameters.properties["location"].description, weather.parameters.properties["days"].type_)
        messages = [Messages(role=MessagesRole.USER, content="Какая погода в Москве?")]
        with GigaChat(model="GigaChat-2-Max") as giga:
            while True:
                choice = giga.chat(Chat(messages=messages, functions=[weather], function_call="auto")).choices[0]
                message = choice.message
                messages.append(message)
                print(choice.finish_reason, message.content, message.name, message.attachments)
                if choice.finish_reason != "function_call":
                    break
                print(message.function_call.name, message.function_call.arguments)
                print(message.function_call.arguments.get("location"), message.functions_state_id is None)
                result = json.dumps({"forecast": "плюс 23, ясно"}, ensure_ascii=False)
                messages.append(Messages(role=MessagesRole.FUNCTION, name="weather_forecast", content=result))
        """,
    "functions by dicts": """
        from gigachat import GigaChat

        search = {
            "name": "search", "description": "Поиск в сети",
            "parameters": {"type": "object", "required": ["query"], "properties": {
                "query": {"type": "string", "description": "Запрос"}}},
        }
        with GigaChat() as giga:
            for wish in ({"name": "search"}, {"name": "search", "partial_arguments": {"query": "кот"}}, "none"):
                response = giga.chat({"messages": [{"role": "user", "content": "Найди мне поиск по сети: кот"}],
                                      "functions": [search], "function_call": wish})
                call = response.choices[0].message.function_call
                print(response.choices[0].finish_reason, call and (call.name, call.arguments))
        """,
    "embeddings": """
        from gigachat import GigaChat

        with GigaChat() as giga:
            result = giga.embeddings(["Привет, мир!", "Машинное обучение"])
            for item in result.data:
                print(item.index, len(item.embedding), item.usage.prompt_tokens, item.object_, item.embedding[:2])
            print(result.object_, result.model, len(giga.embeddings("текст", model="EmbeddingsGigaR").data))
        """,
    "tokens": """
        from gigachat import GigaChat

        giga = GigaChat(credentials=KEY)
        for count in giga.tokens_count(input_=["12345", "Привет, мир"], model="GigaChat-Pro"):
            print(count.tokens, count.characters, count.object_)
        print(len(giga.tokens_count(["раз", "два"])), giga.tokens_count(["раз"])[0].tokens)
        giga.close()
        """,
    "models": """
        from gigachat import GigaChat
        from gigachat.models import Model, Models

        with GigaChat() as giga:
            models = giga.get_models()
            print(isinstance(models, Models), models.object_, [model.id_ for model in models.data])
            model = giga.get_model("GigaChat")
            print(isinstance(model, Model), model.id_, model.object_, model.owned_by)
        """,
    "files and vision": """
        import pathlib

        from gigachat import GigaChat

        pathlib.Path("document.txt").write_text("Кот сидит на окне.", encoding="utf-8")
        with GigaChat(model="GigaChat-2-Pro") as giga:
            with open("document.txt", "rb") as file:
                uploaded = giga.upload_file(file, purpose="general")
            print(uploaded.filename, uploaded.bytes_, uploaded.purpose, uploaded.object_, uploaded.access_policy)
            picture = giga.upload_file(("cat.png", b"\\x89PNG\\r\\n\\x1a\\n" + bytes(100), "image/png"))
            for file_id in (uploaded.id_, picture.id_):
                message = {"role": "user", "content": "Что здесь?", "attachments": [file_id]}
                answer = giga.chat({"messages": [message], "temperature": 0.1, "function_call": "auto"})
                print(answer.choices[0].message.content)
            print(sorted(file.filename for file in giga.get_files().data), giga.get_file(picture.id_).bytes_)
            deleted = giga.delete_file(uploaded.id_)
            print(deleted.deleted, deleted.id_ == uploaded.id_, len(giga.get_files().data))
        """,
    "a picture": """
        import base64
        import re

        from gigachat import GigaChat
        from gigachat.models import Chat, Image, Messages, MessagesRole

        payload = Chat(
            messages=[Messages(role=MessagesRole.SYSTEM, content="Ты художник"),
                      Messages(role=MessagesRole.USER, content="Нарисуй розового кота")],
            function_call="auto",
        )
        with GigaChat() as giga:
            content = giga.chat(payload).choices[0].message.content
            file_id = re.search('<img src="(.*?)"', content).group(1)
            image = giga.get_image(file_id=file_id)
        data = base64.b64decode(image.content)
        with open("cat.jpg", "wb") as file:
            file.write(data)
        print(isinstance(image, Image), len(data), data[:3], content.replace(file_id, "id"))
        """,
    "headers by the context": """
        import gigachat.context
        from gigachat import GigaChat, custom_headers_cvar, request_id_cvar, session_id_cvar

        with GigaChat(credentials=KEY) as giga:
            token = giga.get_token().access_token
        session_id_cvar.set("8324244b-7133-4d30-a328-31d8466e5502")
        request_id_cvar.set("79e41a5f-f180-4c7a-b2d9-393086ae20a1")
        custom_headers_cvar.set({"X-Custom-Header": "value"})
        gigachat.context.client_id_cvar.set("b6874da0-bf06-410b-a150-fd5f9164a0b2")
        gigachat.context.authorization_cvar.set(f"Bearer {token}")
        with GigaChat(verify_ssl_certs=False) as giga:
            response = giga.chat("Привет")
            print(response.x_headers["x-session-id"], response.x_headers["x-request-id"])
            print(response.x_headers["x-client-id"], response.choices[0].message.content)
        """,
    "errors": """
        import gigachat.exceptions
        from gigachat import GigaChat
        from gigachat.exceptions import (
            AuthenticationError, BadRequestError, ForbiddenError, GigaChatException, NotFoundError, RateLimitError,
            RequestEntityTooLargeError, ResponseError, ServerError, UnprocessableEntityError)

        def attempt(call):
            try:
                call()
            except AuthenticationError as error:
                print("who?", error.status_code)
            except NotFoundError as error:
                print("no such", error.status_code, error.content, str(error.url) == BASE_URL + "/chat/completions")
            except UnprocessableEntityError as error:
                print("wrong", error.status_code, error.content, error.headers["content-type"])
            except RateLimitError as error:
                print("too much", error.status_code, error.retry_after)
            except ResponseError as error:
                print("another", type(error).__name__, error.status_code)
            except gigachat.exceptions.GigaChatException as error:
                print("what?", type(error).__name__)

        def log_in(**settings):
            with GigaChat(**settings) as other:
                other.get_models()

        giga = GigaChat()
        attempt(lambda: giga.chat({"model": "no-such-model", "messages": [{"role": "user", "content": "?"}]}))
        attempt(lambda: giga.chat({"messages": [{"role": "user", "content": "?"}], "temperature": -1}))
        attempt(lambda: list(giga.stream({"messages": []})))
        attempt(lambda: giga.get_model("no-such-model"))
        attempt(lambda: giga.get_file("no-such-file"))
        attempt(lambda: giga.check_ai("текст", "GigaCheckDetection"))
        giga.close()
        attempt(lambda: log_in(credentials="bm90OmdpdmVu"))
        attempt(lambda: log_in(access_token="old"))
        attempt(lambda: log_in(credentials=KEY, scope="GIGACHAT_API_XXX"))
        for error in (BadRequestError, ForbiddenError, RequestEntityTooLargeError, ServerError):
            made = error("https://host/", 418, b"tea", {"retry-after": "3"})
            print(error.__mro__[1].__name__, issubclass(error, GigaChatException), made.status_code, made.content)
        """,
    "ways to log in": """
        from gigachat import GigaChat

        with GigaChat(base_url=BASE_URL, user=USER, password=PASSWORD) as giga:
            print(bool(giga.get_token().access_token), giga.chat("Привет").choices[0].message.content)
        with GigaChat(credentials=KEY, auth_url=AUTH_URL) as giga:
            token = giga.get_token()
            print(len(token.access_token) > 9, token.expires_at > 1700000000000, sorted(token.x_headers))
        with GigaChat(access_token=token.access_token) as giga:
            print(giga.get_token().access_token == token.access_token, giga.get_token().expires_at or 0)
            print(giga.chat("Привет").choices[0].message.content)
        """,
    "settings": """
        import os

        from gigachat import GigaChat

        os.environ.update(GIGACHAT_MODEL="GigaChat-2-Max", GIGACHAT_PROFANITY_CHECK="False", GIGACHAT_TIMEOUT="60.0",
                          GIGACHAT_MAX_RETRIES="1", GIGACHAT_RETRY_BACKOFF_FACTOR="0.5", GIGACHAT_FLAGS='["x"]',
                          GIGACHAT_RETRY_ON_STATUS_CODES="[429, 503]", GIGACHAT_MAX_CONNECTIONS="3")
        with GigaChat() as giga:
            print(giga.chat("Привет").model)
        with GigaChat(model="GigaChat-2", timeout=5, max_retries=3, retry_backoff_factor=0.5, max_connections=2,
                      retry_on_status_codes=(429, 500, 502, 503, 504), profanity_check=True, flags=["a"]) as giga:
            print(giga.chat("Привет").model, giga.chat({"model": "GigaChat-Pro", "messages": [
                {"role": "user", "content": "Привет"}]}).model)
        """,
    "the synchronous client": """
        from gigachat.client import GigaChatSyncClient
        from gigachat.models.chat import Chat, Messages, MessagesRole
        from gigachat.models.embeddings import Embeddings

        with GigaChatSyncClient(credentials=KEY, verify_ssl_certs=False, model="GigaChat") as client:
            chat = Chat(messages=[Messages(role=MessagesRole.USER, content="Кто ты?")])
            print(client.chat(chat).choices[0].message.content)
            print(isinstance(client.embeddings(["раз"]), Embeddings))
        """,
    "version 2": """
        from gigachat import GigaChat
        from gigachat.models import ChatCompletionRequest, ChatMessage, ChatModelOptions, ChatTool

        with GigaChat(model="GigaChat-3-Ultra") as giga:
            completion = giga.chat.create("Меня зовут Анна")
            print(completion.messages[0].content[0].text, completion.messages[0].role, completion.finish_reason)
            print(completion.usage.input_tokens, completion.usage.output_tokens, completion.usage.total_tokens)
            print(completion.usage.input_tokens_details.cached_tokens, completion.model, completion.created_at > 0)
            request = ChatCompletionRequest(
                messages=[ChatMessage(role="user", content="Меня зовут Анна"), completion.messages[0],
                          ChatMessage(role="user", content="Как меня зовут?")],
                model_options=ChatModelOptions(temperature=0.5, max_tokens=50))
            for message in giga.chat.create(request).messages:
                print("".join(part.text for part in message.content if part.text is not None))
            for chunk in giga.chat.stream("Расскажи о Байкале"):
                said = [part.text for message in chunk.messages or [] for part in message.content or []]
                print(chunk.event, said, chunk.finish_reason, chunk.usage and chunk.usage.total_tokens)
            answer = giga.chat.create({"messages": [{"role": "user", "content": "Нарисуй кота"}],
                                       "tools": [ChatTool(image_generate={})]})
            print([(file.mime, file.target) for part in answer.messages[0].content for file in part.files or []])
            print(answer.messages[0].tools_state_id is None)
        """,
    "functions of version 2": """
        from gigachat import GigaChat
        from gigachat.models import ChatMessage

        weather = {"name": "getWeather", "description": "Погода в городе", "parameters": {
            "type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}}
        messages = [ChatMessage(role="user", content="Какая погода в Москве?")]
        tools = [{"functions": {"specifications": [weather]}}]
        with GigaChat(model="GigaChat-3-Ultra") as giga:
            answer = giga.chat.create({"messages": messages, "tools": tools, "tool_config": {"mode": "auto"}})
            call = answer.messages[0].content[0].function_call
            print(answer.finish_reason, call.name, call.arguments)
            messages.append(answer.messages[0])
            messages.append(ChatMessage(role="tool", content=[
                {"function_result": {"name": call.name, "result": {"forecast": "плюс 23"}}}]))
            answer = giga.chat.create({"messages": messages, "tools": tools})
            print(answer.finish_reason, answer.messages[0].content[0].text)
        """,
    "answers of a type": """
        import pydantic

        from gigachat import GigaChat
        from gigachat.exceptions import LengthFinishReasonError
        from gigachat.models import Chat, JsonSchemaResponseFormat, Messages

        class Plan(pydantic.BaseModel):
            title: str
            hours: float

        with GigaChat() as giga:
            completion, plan = giga.chat_parse("Как испечь хлеб?", response_format=Plan)
            print(type(plan).__name__, plan, completion.choices[0].finish_reason)
            completion, plan = giga.chat.parse("Как испечь хлеб?", response_format=Plan, strict=False)
            print(type(plan).__name__, plan, completion.finish_reason)
            chat = Chat(messages=[Messages(role="user", content="Как испечь хлеб?")], max_tokens=3)
            try:
                giga.chat_parse(chat, response_format=Plan)
            except LengthFinishReasonError as error:
                print(error.completion.choices[0].finish_reason)
            chat = Chat(messages=[Messages(role="user", content="Как испечь хлеб?")],
                        response_format=JsonSchemaResponseFormat(schema=Plan, strict=True))
            print(Plan.model_validate_json(giga.chat(chat).choices[0].message.content))
        """,
    "assistants and threads": """
        from gigachat import GigaChat
        from gigachat.models import Messages, ThreadRunOptions
        from gigachat.models.threads import ThreadStatus

        with GigaChat() as giga:
            made = giga.assistants.create("GigaChat-Pro", "помощник", "Отвечай вежливо", metadata={"a": 1})
            [assistant] = giga.assistants.get(made.assistant_id).data
            print(assistant.name, assistant.instructions, assistant.metadata, assistant.model, assistant.description)
            print(giga.assistants.update(made.assistant_id, name="советник").name, len(giga.assistants.get().data))
            first = giga.threads.run_messages(["Меня зовут Анна"], assistant_id=made.assistant_id)
            print(first.message.role, first.message.content, first.finish_reason, first.usage.total_tokens)
            asked = [Messages(role="user", content="Как меня зовут?")]
            for chunk in giga.threads.run_messages_stream(asked, first.thread_id):
                print(chunk.choices[0].delta.content, end="")
            print(chunk.thread_id == first.thread_id)
            for message in giga.threads.get_messages(first.thread_id).messages:
                print(message.role, message.content, message.attachments or [])
            thread_id = giga.threads.add_messages(messages=["2 + 2"]).thread_id
            run = giga.threads.run(thread_id, thread_options=ThreadRunOptions(temperature=0.5))
            print(run.status == ThreadStatus.IN_PROGRESS, run.status.value, run.thread_id == thread_id)
            print(giga.threads.get_run(thread_id).status in (ThreadStatus.READY, "in_progress"))
            print([thread.id_ == thread_id for thread in giga.threads.retrieve([thread_id]).threads])
            print(giga.threads.delete(thread_id), giga.assistants.delete(made.assistant_id).deleted)
        """,
    "tools": """
        import json

        from gigachat import GigaChat

        giga = GigaChat(scope="GIGACHAT_API_CORP")
        result = giga.check_ai("Так пишет только машина, складно и длинно, и нет этому ни конца, ни краю, ни смысла, "
                               "ни меры, ни счёта, ни срока, ни цели.", model="GigaCheckDetection")
        print(result.category, result.characters, result.tokens, result.ai_intervals)
        spec = {"openapi": "3.0.0", "info": {"title": "t", "version": "1"}, "paths": {"/sms": {"post": {
            "operationId": "send_sms", "description": "Отправка", "parameters": [
                {"name": "text", "in": "query", "required": True, "schema": {"type": "string"},
                 "description": "Текст"}],
            "responses": {"200": {"description": "да"}}}}}}
        for function in giga.openapi_function_convert(json.dumps(spec)).functions:
            print(function.name, function.description, function.parameters.required)
            print(sorted(function.parameters.properties))
        giga.close()
        """,
    "the balance": """
        from gigachat import GigaChat

        with GigaChat(scope="GIGACHAT_API_PERS") as giga:
            for entry in giga.get_balance().balance:
                print(entry.usage, entry.value > 0)
        """,
    "objects": """
        import copy
        import json
        import pickle
        import warnings

        from gigachat.models import Chat, ChatCompletion, Function, Messages, MessagesRole, Storage, UploadedFile, Usage

        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "precached_prompt_tokens": 0}
        body = {"choices": [{"message": {"role": "assistant", "content": "да"}, "index": 0, "finish_reason": "stop"}],
                "created": 1, "model": "GigaChat", "object": "chat.completion", "usage": usage}
        completion = ChatCompletion.model_validate(body)
        print(completion.model_dump(exclude_none=True, by_alias=True) == body, completion.usage == Usage(**usage))
        print(json.loads(completion.model_dump_json(exclude_none=True, by_alias=True)) == body)
        for twin in (copy.deepcopy(completion), pickle.loads(pickle.dumps(completion)), completion.model_copy()):
            print(twin == completion, twin.choices[0].message.content)
        storage = Storage(is_stateful=True, limit=3)
        chat = Chat(messages=[Messages(role=MessagesRole.USER, content="?")], storage=storage)
        chat.temperature = 0.5
        print(chat.storage.limit, chat.storage.thread_id, chat.temperature, chat.functions, chat.stream)
        print(chat.model_dump(exclude_none=True, exclude={"storage"}))
        print(chat.model_copy(update={"top_p": 0.1}).top_p, chat.top_p, isinstance(chat.messages[0], Messages))
        message = Messages.model_validate({"role": "assistant", "content": "да", "functions_state_id": "s"})
        print(message.role == MessagesRole.ASSISTANT, message.role == "assistant", message.functions_state_id)
        print(Function.model_validate({"title": "f", "description": "d"}).description, MessagesRole("user").value)
        print(sorted(role.value for role in MessagesRole), MessagesRole.FUNCTION.name, MessagesRole.USER in ("user",))
        file = UploadedFile.model_validate_json('{"id": "1", "object": "file", "bytes": 2, "created_at": 3,'
                                                ' "filename": "a", "purpose": "general"}')
        print(file.id_, file.object_, file.bytes_, file.access_policy, hasattr(file, "no_such_field"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            old = Messages.parse_obj({"role": "user", "content": "?"})
            print(old.dict(exclude_none=True), json.loads(old.json(exclude_none=True)), old.copy() == old)
        """,
}
NEEDS = {"tools": CORP}


def run(program, package, emulator):
    """Run a program in a context of its own, and return what it printed."""
    given = {"__name__": "__main__", "KEY": emulator.credentials, "BASE_URL": emulator.base_url,
             "AUTH_URL": emulator.auth_url, "USER": emulator.user, "PASSWORD": emulator.password}
    code = compile(re.sub(r"\bgigachat\b", package, textwrap.dedent(program)), f"<with {package}>", "exec")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        contextvars.copy_context().run(exec, code, given)
    return printed.getvalue()


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """Put an emulator's settings into the environment, and take back what a program puts there."""
    def put(emulator):
        for name in ("PROFANITY_CHECK", "TIMEOUT", "MAX_RETRIES", "RETRY_BACKOFF_FACTOR", "FLAGS",
                     "RETRY_ON_STATUS_CODES", "MAX_CONNECTIONS"):
            monkeypatch.setenv("GIGACHAT_" + name, "")
            monkeypatch.delenv("GIGACHAT_" + name)
        for name, value in {"BASE_URL": emulator.base_url, "AUTH_URL": emulator.auth_url, "MODEL": "GigaChat",
                            "CREDENTIALS": emulator.credentials, "VERIFY_SSL_CERTS": "False"}.items():
            monkeypatch.setenv("GIGACHAT_" + name, value)

    return put


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_prints_the_same(name, settings):
    pytest.importorskip("gigachat")
    printed = []
    for package in PACKAGES:
        with Emulator(scope=NEEDS.get(name, "GIGACHAT_API_PERS")) as emulator:
            settings(emulator)
            printed.append(run(PROGRAMS[name], package, emulator))
    assert printed[1] == printed[0] != ""


# ---- Faults


STATUSES = {
    400: "BadRequestError", 401: "AuthenticationError", 403: "ForbiddenError", 404: "NotFoundError",
    405: "ResponseError", 413: "RequestEntityTooLargeError", 422: "UnprocessableEntityError", 429: "RateLimitError",
    500: "ServerError", 502: "ServerError", 503: "ServerError", 504: "ServerError", 301: "ResponseError"}
CALLS = {
    "chat": lambda lib, giga: giga.chat("2 + 2"),
    "stream": lambda lib, giga: list(giga.stream("2 + 2")),
    "create": lambda lib, giga: giga.chat.create("2 + 2"),
    "v2 stream": lambda lib, giga: list(giga.chat.stream("2 + 2")),
    "models": lambda lib, giga: giga.get_models(),
    "upload": lambda lib, giga: giga.upload_file(("a.txt", b"text", "text/plain")),
    "run": lambda lib, giga: giga.threads.run("t-1"),
    "token": lambda lib, giga: giga.get_token() and None,
    "tokens": lambda lib, giga: giga.tokens_count(["раз"]),
    "image": lambda lib, giga: giga.get_image("f-1"),
    "thread": lambda lib, giga: giga.threads.delete("t-1"),
    "parse": lambda lib, giga: giga.chat_parse("2 + 2", response_format=schema_model()),
    "text": lambda lib, giga: "".join(chunk.choices[0].delta.content for chunk in giga.stream("2 + 2")),
}
ANY_CALL = ["chat", "stream", "create", "v2 stream", "models", "upload", "run"]
SUBCLASS = "a class of its own, caught as the other too"
NETWORK = "no exception of the HTTP library leaves this package"
SLIP = "what is no answer is an error of the service, with its bytes"
FAULTS = [  # the fault, the call, what it raises with the official package (None: nothing), what with this one, and why
    ("402", "chat", "ResponseError", "PaymentRequiredError", SUBCLASS),
    ("404", "tokens", "ResponseError", "NotFoundError", SUBCLASS),
    ("404", "image", "ResponseError", "NotFoundError", SUBCLASS),
    ("404", "thread", "ResponseError", "NotFoundError", SUBCLASS),
    ("503", "tokens", "ResponseError", "ServerError", SUBCLASS),
    ("refused", "chat", "ConnectError", "TransportError", NETWORK),
    ("dropped", "chat", "RemoteProtocolError", "TransportError", NETWORK),
    ("short", "chat", "RemoteProtocolError", "TransportError", NETWORK),
    ("silent", "chat", "ReadTimeout", "RequestTimeout", NETWORK),
    ("cut", "text", "RemoteProtocolError", "StreamError", NETWORK),
    ("unfinished", "text", None, "StreamError", "a stream without its end is not the whole answer"),
    ("spoilt", "text", "ValidationError", "ServerError", "an error in a stream is the one that it names"),
    ("page", "text", "TransportError", "ResponseError", SLIP),
    ("page", "chat", "JSONDecodeError", "ResponseError", SLIP),
    ("broken", "chat", "JSONDecodeError", "ResponseError", SLIP),
    ("list", "chat", "TypeError", "ResponseError", SLIP),
    ("hidden", "chat", "ValidationError", "RateLimitError", "the service may say so in the body alone"),
    ("empty", "chat", "ValidationError", None, "nothing is checked: a field that is missing is None"),
    ("filtered", "parse", "JSONDecodeError", "ContentFilterError", "it says why there is no value"),
    ("words", "parse", "JSONDecodeError", "ParseError", "a ValueError as well, with the text"),
    ("misfit", "parse", "ValidationError", "ParseError", "a ValueError as well, with the text"),
]
BROKEN_SETTINGS = [  # the settings, the call, and the rest as above
    ({"model": None}, "chat", "ModelNotSpecifiedError", None, "all hosts but *.giga.chat have a default: GigaChat"),
    ({"verify_ssl": False}, "chat", None, "TypeError", "a slip would change nothing"),
    ({"access_token": None}, "chat", None, "ConfigurationError", "nothing is sent that must be refused"),
    ({"access_token": None}, "token", None, "ConfigurationError", "nothing is sent that must be refused"),
    ({"base_url": "http://example.invalid/v1"}, "chat", "ConnectError", "ConfigurationError",
     "clear text shows the key to anyone: allow_http=True allows it"),
    ({"ca_bundle_file": "nowhere.pem"}, "chat", "FileNotFoundError", "ConfigurationError", "it names the setting"),
]


def spoil(request, connection):
    """Answer with the fault that the path begins with."""
    fault = request.path.split("/")[1]
    if fault.isdigit():
        return reply(int(fault), {"status": int(fault), "message": "no"})
    if fault == "silent":
        connection.hold()
    words, unfinished = CHAT_BODY.decode(), STREAM_BODY.replace(b"data: [DONE]\n\n", b"")
    return {
        "dropped": drop(), "short": reply(200, CHAT_BODY, length=9999), "list": reply(200, b'["x"]'),
        "cut": sse(STREAM_BODY).cut(400), "unfinished": sse(unfinished), "empty": reply(200, b"{}"),
        "spoilt": sse(unfinished.partition(b"\n\n")[0] + b'\n\ndata: {"status":500,"message":"no"}\n\n'),
        "page": reply(200, "<html></html>", {"Content-Type": "text/html"}), "broken": reply(200, b'{"choices":'),
        "hidden": reply(200, {"status": 429, "message": "no"}), "words": reply(200, words),
        "filtered": reply(200, words.replace('"stop"', '"blacklist"')),
        "misfit": reply(200, words.replace("Hello.", "{}")),
    }[fault]


@pytest.fixture(scope="module")
def spoiling():
    pytest.importorskip("gigachat")
    with Api(spoil, oauth=spoil) as server, contextlib.ExitStack() as stack:
        yield [stack.enter_context(contextlib.closing(Lib(package, server))) for package in PACKAGES]


def raised(lib, call, **settings):
    """Name the exception that a call of a client with these settings ends with."""
    settings = {"access_token": "token", "max_retries": 0, "timeout": 10, **settings}
    try:
        CALLS[call](lib, lib.client(**settings))
    except Exception as error:
        return type(error).__name__
    return None


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_raises_the_same(spoiling, status):
    for lib in spoiling:
        names = {call: raised(lib, call, base_url=f"{lib.server.url}/{status}/v1") for call in ANY_CALL}
        assert set(names.values()) == {STATUSES[status]}, names


@pytest.mark.parametrize(("fault", "call", "theirs", "ours", "why"), FAULTS)
def test_a_fault(spoiling, fault, call, theirs, ours, why):
    with refused() as port:
        for lib, name in zip(spoiling, (theirs, ours)):
            base_url = f"http://127.0.0.1:{port}/v1" if fault == "refused" else f"{lib.server.url}/{fault}/v1"
            assert raised(lib, call, base_url=base_url, timeout=0.1 if fault == "silent" else 10) == name
    error = ours and getattr(spoiling[1].exceptions, ours)
    if why is SUBCLASS:
        assert issubclass(error, getattr(spoiling[1].exceptions, theirs))
    elif error:
        assert issubclass(error, spoiling[1].exceptions.GigaChatException)


@pytest.mark.filterwarnings("ignore:`verify=<str>`:DeprecationWarning")  # as the official package calls httpx
@pytest.mark.parametrize(("settings", "call", "theirs", "ours", "why"), BROKEN_SETTINGS)
def test_settings_that_cannot_work(spoiling, settings, call, theirs, ours, why):
    for lib, name in zip(spoiling, (theirs, ours)):
        assert raised(lib, call, **{"base_url": lib.server.url + "/words/v1", **settings}) == name


def test_a_key_that_is_refused_raises_the_same(spoiling):
    for lib in spoiling:
        settings = {"access_token": None, "credentials": "bm90OmdpdmVu", "auth_url": lib.server.url + "/401/oauth"}
        assert raised(lib, "models", **settings) == "AuthenticationError"


# ---- Habits


USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "newer": 4}
NAMES = ["completion_tokens", "precached_prompt_tokens", "prompt_tokens", "total_tokens"]


def outcome(call, *args, **fields):
    """Return what a call returns, or the name of what it raises."""
    try:
        return call(*args, **fields)
    except Exception as error:
        return type(error).__name__


def sent(lib, call, **settings):
    """Count the requests of a call."""
    del lib.server.requests[:]
    with contextlib.suppress(Exception):
        call(lib.client(**{"access_token": "token", "base_url": lib.server.url + "/words/v1", **settings}))
    return len(lib.server.requests)


def model_of_payload(lib):
    payload = lib.models.Chat(messages=[lib.models.Messages(role="user", content="2 + 2")])
    lib.client(access_token="token", base_url=lib.server.url + "/words/v1", model="GigaChat-2").chat(payload)
    return payload.model


def settings_of(lib, **settings):
    """Make a client without any settings, but for what is given, and return the settings that it has."""
    with contextlib.closing(importlib.import_module(lib.name).GigaChat(access_token="token", **settings)) as client:
        return dict(client.config if lib.name == "gigachat_lite" else client._settings)


def setting_of_a_file(lib):
    with open(".env", "w") as file:
        file.write("GIGACHAT_MODEL=of-a-file")
    return settings_of(lib)["model"]


HABITS = [  # what is asked for, how, what it is with the official package, what with this one, and why
    ("a stream is sent", lambda lib: sent(lib, lambda giga: giga.stream("2 + 2")), 0, 1, "the call raises its errors"),
    ("tries", lambda lib: sent(lib, lambda giga: giga.get_models(), base_url=lib.server.url + "/503/v1",
                               retry_backoff_factor=0.001), 1, 3, "two retries by default"),
    ("timeout", lambda lib: settings_of(lib)["timeout"], 30.0, (10.0, 180.0), "a long answer takes minutes"),
    ("at a time", lambda lib: settings_of(lib, credentials="a2V5OmtleQ==")["max_connections"], None, 1,
     "the service lets a private person have one"),
    ("address", lambda lib: settings_of(lib)["base_url"], "https://api.giga.chat/v1",
     "https://gigachat.devices.sberbank.ru/api/v1", "keys work there, and a default model is known"),
    (".env", setting_of_a_file, None, "of-a-file", "settings may stand in a file"),
    ("the payload afterwards", model_of_payload, "GigaChat-2", None, "what the caller has stays as it is"),
    ("a model of pydantic", lambda lib: hasattr(lib.models.Chat, "model_json_schema"), True, False, "they are dicts"),
    ("as a dict", lambda lib: isinstance(lib.models.Chat(messages=[]), dict), False, True, "they are dicts"),
    ("truth", lambda lib: bool(lib.models.ThreadRunOptions()), True, False, "an empty dict is false"),
    ("keys", lambda lib: [*lib.models.FunctionCall(name="f", arguments={})], [("name", "f"), ("arguments", {})],
     ["name", "arguments"], "iteration is that of dicts"),
    ("missing fields", lambda lib: outcome(lambda: lib.models.Usage.model_validate({}).total_tokens), "ValidationError",
     None, "nothing is checked, so that no answer breaks a program"),
    ("wrong types", lambda lib: outcome(
        lambda: lib.models.Usage.model_validate({**USAGE, "total_tokens": "x"}).total_tokens), "ValidationError", "x",
     "nothing is checked, so that no answer breaks a program"),
    ("no dict", lambda lib: outcome(lib.models.Usage.model_validate, 1), "ValidationError", "TypeError",
     "there is no pydantic"),
    ("unknown fields", lambda lib: getattr(lib.models.Usage.model_validate(USAGE), "newer", None), None, 4,
     "what the service adds can be read"),
    ("names in a dump", lambda lib: sorted(lib.models.Model.model_validate(
        {"id": "a", "object": "b", "owned_by": "c"}).model_dump()), ["id_", "object_", "owned_by", "x_headers"],
     ["id", "object", "owned_by"], "the names of the API, always"),
    ("None in a dump", lambda lib: sorted(lib.models.Usage.model_validate(USAGE).model_dump()), NAMES,
     ["completion_tokens", "newer", "prompt_tokens", "total_tokens"], "what is there, and nothing else"),
    ("str of a role", lambda lib: str(lib.models.ChatCompletionChunk.model_validate(
        {"choices": [{"delta": {"role": "user"}, "index": 0}], "created": 1, "model": "m", "object": "o"}
    ).choices[0].delta.role), "MessagesRole.USER", "user", "a word prints as it is"),
    ("items", lambda lib: callable(lib.models.FunctionParametersProperty(items={"type": "string"}).items), False, True,
     'dicts have such a method; the field is ["items"]'),
]


@pytest.mark.parametrize(("what", "how", "theirs", "ours", "why"), HABITS, ids=[row[0] for row in HABITS])
def test_a_habit(spoiling, tmp_path, what, how, theirs, ours, why):
    assert [how(lib) for lib in spoiling] == [theirs, ours] and theirs != ours
