"""Programs as users write them, for ``mypy --strict`` to see through: it is checked, never run.

A line that is marked as an error has to be one: were the type Any, or a name unknown, the mark would be unused.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gigachat_lite.models
import gigachat_lite.models.chat_completions as v2
from gigachat_lite import (
    Balance,
    Batches,
    Chat,
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatMessage,
    Function,
    FunctionParameters,
    GigaChat,
    GigaChatException,
    Image,
    Messages,
    MessagesRole,
    PrimaryChatCompletionChunk,
    ThreadCompletion,
    ThreadRunResult,
    ThreadStatus,
    UploadedFiles,
    Usage,
)
from gigachat_lite.models import ChatUsage, assistants, threads
from gigachat_lite.models.chat import FewShotExample
from gigachat_lite.models.files import UploadedFile


def ask(giga: GigaChat) -> str:
    try:
        response = giga.stream("Привет")
    except GigaChatException as error:
        return str(error)
    pieces: list[str] = [chunk.choices[0].delta.content or "" for chunk in response]
    return "".join(pieces)


def hand_over(giga: GigaChat, stub: Any) -> str:
    answer = giga.chat({"role": "user", "content": text} for text in ("Привет", "Пока"))
    vectors = giga.embeddings(text for text in ("а", "б"))
    giga.chat = stub
    return f"{answer.text}{vectors.model}"


@dataclass
class Weather:
    city: str
    degrees: float


def use_v1(giga: GigaChat) -> str:
    text: str = giga.chat("Привет").text
    text += giga.chat(build()).choices[0].message.content
    completion, weather = giga.chat_parse("Погода?", response_format=Weather)
    degrees: str = weather.degrees  # type: ignore[assignment]
    left: float = giga.get_balance().balance[0].value
    file: UploadedFile = giga.upload_file("кот.jpg")
    giga.get_image(completion.images[0]).save("кот.jpg")
    size: int = giga.embeddings(["а"]).data[0].usage.prompt_tokens + giga.tokens_count(["а"])[0].tokens
    giga.chat_("Привет")  # type: ignore[attr-defined]
    return f"{text}{degrees}{left}{file.id_}{size}"


def use_v2(giga: GigaChat) -> str:
    with giga.chat.stream(build_v2()) as stream:
        pieces: list[str] = [chunk.text for chunk in stream]
    answer, weather = giga.chat.parse("Погода?", response_format=Weather)
    degrees: str = weather.degrees  # type: ignore[assignment]
    return giga.chat.create("Привет").text + "".join(pieces) + answer.text + degrees


def call_functions(giga: GigaChat) -> str:
    run = giga.run_functions("Погода?", [use_v1])
    text: str = run.completion.choices[0].message.content + run.text
    total: int = run.usage.total_tokens
    words: str = run.usage.prompt_tokens  # type: ignore[assignment]
    run.completion.choises  # type: ignore[attr-defined] # noqa: B018
    role: str = run.messages[0].role
    second = giga.chat.run_functions("Погода?", [use_v2])
    part: str = (second.completion.messages[0].text or "") + second.text
    total += second.usage.input_tokens
    second.completion.choices  # type: ignore[attr-defined] # noqa: B018
    return f"{text}{total}{words}{part}{role}{second.messages[0].text}"


def use_the_rest(giga: GigaChat) -> ThreadCompletion:
    found: assistants.Assistants = giga.assistants.get()
    batch: str = giga.batches.list().batches[0].status
    thread: str = giga.threads.create_thread()
    return giga.threads.run_messages([f"{found.data[0].name}{batch}"], thread_id=thread)


def read(response: ChatCompletion) -> str:
    message = response.choices[0].message
    role: MessagesRole = message.role
    usage: Usage = response.usage
    text: str = message.content
    number: int = message.content  # type: ignore[assignment]
    reason: str = response.finish_reason  # type: ignore[assignment] # it may be None
    response.choices[0].massage  # type: ignore[attr-defined] # noqa: B018
    response.txt  # type: ignore[attr-defined] # noqa: B018
    call = response.function_call
    if call is not None and not (response.blocked or response.truncated):
        name: str = call.name
        return name + str(call.arguments)
    ids: list[str] = response.images + response.models_3d
    dumped: dict[str, Any] = response.model_dump(exclude_none=True)
    return f"{role.value}{usage.total_tokens + 1}{number}{text}{reason}{ids}{dumped}{response['model']}{response.text}"


def read_chunk(chunk: ChatCompletionChunk) -> str:
    none: str = chunk.choices[0].delta.content  # type: ignore[assignment] # it may be None
    return chunk.text + none + (chunk.finish_reason or "")


def build() -> Chat:
    function = Function(
        name="погода",
        parameters=FunctionParameters(type="object", properties={"место": {"type": "string"}}, required=["место"]),
        few_shot_examples=[FewShotExample(request="Как там?", params={})],
    )
    chat = Chat(messages=[Messages(role=MessagesRole.USER, content="Как там?")], functions=[function], temperature=0.5)
    chat.messages.append(Messages.model_validate({"role": "user", "content": "Ну?"}))
    chat.temperature = "0.5"  # type: ignore[assignment]
    return chat.copy()


def build_v2() -> ChatCompletionRequest:
    message = ChatMessage(role="user", content="Нарисуй кота")
    request = ChatCompletionRequest(messages=[message], tools=["image_generate"])
    request.reasoning = v2.ChatReasoning(effort="high")
    request.model_options = v2.ChatModelOptions(temperature=0.1)
    return request


def read_v2(response: ChatCompletionResponse, chunk: PrimaryChatCompletionChunk) -> list[str]:
    usage: ChatUsage | None = response.usage
    state: str | None = response.messages[0].tools_state_id
    for part in response.messages[0].content or []:
        for file in part.files or []:
            identity: str = file.id
            identity += 1  # type: ignore[operator]
        if part.inline_data and part.inline_data.sources:
            url: str | None = part.inline_data.sources["1"].url
            print(url)
    call = response.function_call
    arguments: dict[str, Any] = call.arguments if call else {}
    event: str = chunk.event  # type: ignore[assignment] # it may be None
    same: v2.ChatCompletionChunk = chunk
    return [response.text, chunk.text, event, str(usage), str(state), str(arguments), same.text, *response.images]


def read_the_rest(balance: Balance, batches: Batches, files: UploadedFiles, image: Image) -> float:
    one: UploadedFile = files.data[0]
    image.save("кот.jpg")
    total: int = batches.batches[0].request_counts.total
    words: str = balance.balance[0].value  # type: ignore[assignment]
    gigachat_lite.models.Nonsense  # type: ignore[attr-defined] # noqa: B018
    return sum(value.value for value in balance.balance) + total + one.bytes + len(words)


def read_thread(done: ThreadCompletion, result: ThreadRunResult, thread: threads.Thread) -> assistants.Assistants:
    status: str = result.status.value if result.status is not ThreadStatus.READY else thread.status
    text: str = done.text + done.message.content + (done.finish_reason or "") + status
    found = assistants.Assistants(data=[{"name": text}])
    found.data[0].functions[0]  # type: ignore[index] # there may be none
    return found


async def use_asyncio(giga: GigaChat) -> str:
    text: str = (await giga.achat("Привет", deadline=5)).text
    async with giga.astream("Привет") as stream:
        pieces: list[str] = [chunk.text async for chunk in stream]
    whole: ChatCompletion = stream.completion  # type: ignore[assignment] # it may be None
    async for event in giga.achat.stream("Привет"):
        text += event.text + event.texts  # type: ignore[attr-defined]
    completion, weather = await giga.achat_parse("Погода?", response_format=Weather)
    answer, other = await giga.achat.parse("Погода?", response_format=Weather)
    degrees: str = weather.degrees + other.degrees  # type: ignore[assignment]
    size: int = (await giga.aembeddings(["а"])).data[0].usage.prompt_tokens
    thread: str = await giga.a_threads.create_thread()
    async for part in giga.a_threads.run_messages_stream(["Привет"], thread_id=thread):
        text += part.text
    await giga.achat("Привет", dedline=5)  # type: ignore[call-arg]
    await giga.achat(5)  # type: ignore[arg-type]
    return f"{text}{pieces}{whole.text}{completion.text}{answer.text}{degrees}{size}"
