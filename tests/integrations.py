"""Packages made for the official SDK, run against the emulator: ``python integrations.py NAME`` prints what worked."""
from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from typing import Any, Dict, List

from gigachat_lite import Emulator, alias

WEATHER = {"name": "weather", "arguments": {"city": "Тверь"}}
CITY = {"name": "Тверь", "population": 424969}


def calls(function, **fields):
    """Make an answer in which the model wants a call."""
    message = {"role": "assistant", "content": "", "function_call": function, "functions_state_id": "s-1"}
    return answer(message, "function_call", **fields)


def says(text, **fields):
    return answer({"role": "assistant", "content": text}, "stop", **fields)


def answer(message, reason, part="message"):
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12, "precached_prompt_tokens": 1}
    choice = {part: message, "index": 0, "finish_reason": reason}
    return {"choices": [choice], "created": 1, "model": "GigaChat:1", "object": "chat.completion", "usage": usage}


def scripted(emu, *answers):
    for each in answers:
        emu.enqueue(body=each, path="/chat/completions")


def sent(emu, number=-1):
    """Give the body of a chat request that the service got."""
    return [request.body for request in emu.requests if request.path.endswith("completions")][number]


# ---- langchain-gigachat


def langchain_steps(emu):
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
    from langchain_core.tools import tool
    from langchain_gigachat import GigaChat, GigaChatEmbeddings
    from pydantic import BaseModel, Field

    settings = {name: emu.config[name] for name in ("base_url", "auth_url", "credentials")}
    chat = GigaChat(model="GigaChat-2", profanity_check=False, **settings)
    streaming = GigaChat(streaming=True, **settings)

    @tool
    def weather(city: str) -> str:
        """Tell the weather of a city."""
        return f"{city}: rain"

    class City(BaseModel):
        """A city."""

        name: str = Field(description="Name")
        population: int = Field(description="People")

    def invoke():
        reply = chat.invoke([SystemMessage("Кратко."), HumanMessage("Привет")])
        assert reply.content and reply.usage_metadata["total_tokens"] and reply.response_metadata["x_headers"]
        assert [message["role"] for message in sent(emu)["messages"]] == ["system", "user"]
        return chat.batch(["раз", "два"])

    def stream():
        chunks = list(streaming.stream("Привет"))
        assert len(chunks) > 1 and "".join(chunk.content for chunk in chunks) and sent(emu)["stream"] is True
        assert any(chunk.usage_metadata for chunk in chunks)

    def tools():
        bound = chat.bind_tools([weather])
        scripted(emu, calls(WEATHER), says("Дождь"))
        history: List[Any] = [HumanMessage("Погода?")]
        call = bound.invoke(history)
        assert call.tool_calls[0]["name"] == "weather" and call.tool_calls[0]["args"] == {"city": "Тверь"}
        assert sent(emu)["functions"][0]["parameters"]["properties"]["city"]["type"] == "string"
        result = weather.invoke(call.tool_calls[0]["args"])
        history += [call, ToolMessage(result, tool_call_id=call.tool_calls[0]["id"])]
        assert bound.invoke(history).content == "Дождь"
        assert [message["role"] for message in sent(emu)["messages"]] == ["user", "assistant", "function"]
        called = sent(emu)["messages"][1]["function_call"]
        assert {**called, **WEATHER} == called and "type" not in called  # which is langchain's alone

    def streamed_tools():
        scripted(emu, calls(WEATHER))  # with functions, it asks for a whole answer
        whole = None
        for chunk in chat.bind_tools([weather]).stream("Погода?"):
            whole = chunk if whole is None else whole + chunk
        assert whole.tool_calls[0]["args"] == {"city": "Тверь"}

    def structured_by_function():
        scripted(emu, calls({"name": "City", "arguments": CITY}))
        assert chat.with_structured_output(City).invoke("Тверь") == City(**CITY)

    def structured_by_schema():
        scripted(emu, says(json.dumps(CITY)))
        assert chat.with_structured_output(City, method="json_schema").invoke("Тверь") == City(**CITY)
        assert sent(emu)["response_format"]["type"] == "json_schema"

    def embeddings():
        vectors = GigaChatEmbeddings(**settings)
        assert len(vectors.embed_documents(["раз", "два"])) == 2 and vectors.embed_query("три")
        assert len(asyncio.run(vectors.aembed_documents(["раз"]))) == 1

    async def asynchronous():
        assert (await chat.ainvoke("Привет")).content
        assert "".join([chunk.content async for chunk in streaming.astream("Привет")])
        assert (await chat.aget_models()).data and (await chat.atokens_count(["раз"]))[0].tokens

    def token_counts():
        assert chat.get_num_tokens("раз два") and chat.tokens_count(["раз"])[0].tokens and chat.get_models().data

    def files():
        file = chat.upload_file(("a.txt", "Привет".encode()))
        assert chat.get_file(file.id_).filename == "a.txt" and chat.get_file_content(file.id_).content
        assert chat.list_files().data and chat.delete_file(file.id_).deleted
        assert asyncio.run(chat.aupload_file(("b.txt", b"b"))).bytes_ == 1

    def attached():
        scripted(emu, says("Кот"))
        part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
        auto = GigaChat(auto_upload_attachments=True, **settings)
        assert auto.invoke([HumanMessage([{"type": "text", "text": "Что это?"}, part])]).content == "Кот"
        assert len(sent(emu)["messages"][0]["attachments"]) == 1

    def errors():
        import gigachat.exceptions

        emu.enqueue(422, path="/chat/completions")
        try:
            chat.invoke("x")
        except gigachat.exceptions.UnprocessableEntityError as error:
            assert error.status_code == 422
        else:
            raise AssertionError("no error")

    def history():
        assert chat.invoke([HumanMessage("а"), AIMessage("б"), HumanMessage("в")]).content

    return [invoke, stream, tools, streamed_tools, structured_by_function, structured_by_schema, embeddings,
            asynchronous, token_counts, files, attached, errors, history]


# ---- gpt2giga


def gpt2giga_steps(emu):
    import anthropic
    import openai
    from fastapi.testclient import TestClient
    from gpt2giga.api_server import create_app
    from gpt2giga.models.config import ProxyConfig
    from pydantic import BaseModel

    os.environ.update(emu.environ, GIGACHAT_MODEL="GigaChat-2", GPT2GIGA_PASS_MODEL="true")
    sys.argv[1:] = []  # it reads them
    http = TestClient(create_app(ProxyConfig())).__enter__()
    client = openai.OpenAI(api_key="0", base_url="http://testserver/v1", http_client=http, max_retries=0)
    claude = anthropic.Anthropic(api_key="0", base_url="http://testserver", http_client=http, max_retries=0)
    user: Dict[str, Any] = {"model": "GigaChat-2", "messages": [{"role": "user", "content": "Погода?"}]}
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "weather", "description": "Weather", "parameters": parameters}}

    class City(BaseModel):
        name: str
        population: int

    def chat():
        made = client.chat.completions.create(**user)
        assert made.choices[0].message.content and made.usage.total_tokens

    def stream():
        chunks = list(client.chat.completions.create(stream=True, **user))
        assert len(chunks) > 1 and "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    def tools():
        scripted(emu, calls(WEATHER), says("Дождь"))
        message = client.chat.completions.create(tools=[tool], **user).choices[0].message
        call = message.tool_calls[0]
        assert call.function.name == "weather" and json.loads(call.function.arguments) == {"city": "Тверь"}
        result = {"role": "tool", "tool_call_id": call.id, "content": '{"weather": "rain"}'}
        messages = [*user["messages"], message.model_dump(exclude_none=True), result]
        made = client.chat.completions.create(tools=[tool], **{**user, "messages": messages})
        assert made.choices[0].message.content == "Дождь"

    def streamed_tools():
        emu.enqueue(events=[calls(WEATHER, part="delta"), "[DONE]"], path="/chat/completions")
        chunks = list(client.chat.completions.create(stream=True, tools=[tool], **user))
        found = [call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or ()]
        assert found[0].function.name == "weather"

    def structured():
        scripted(emu, calls({"name": "City", "arguments": CITY}))
        made = client.chat.completions.parse(response_format=City, **user)
        assert made.choices[0].message.parsed == City(**CITY)

    def embeddings():
        made = client.embeddings.create(model="EmbeddingsGigaR", input=["раз", "два"], encoding_format="float")
        assert len(made.data) == 2 and made.data[0].embedding

    def models():
        assert any(model.id.startswith("GigaChat") for model in client.models.list())

    def files():
        made = client.files.create(file=("a.txt", b"text", "text/plain"), purpose="user_data")
        assert made.bytes == 4 and made.id in [file.id for file in client.files.list()]
        assert client.files.retrieve(made.id).filename == "a.txt" and client.files.delete(made.id).deleted

    def errors():
        emu.enqueue(429, {"Retry-After": "100"}, path="/chat/completions")
        try:
            client.chat.completions.create(**user)
        except openai.RateLimitError as error:
            assert error.status_code == 429
        else:
            raise AssertionError("no error")

    def responses():
        made = client.responses.create(model="GigaChat-2", input="Привет")
        assert made.output_text
        assert [event.type for event in client.responses.create(model="GigaChat-2", input="Привет", stream=True)]

    def messages():
        made = claude.messages.create(max_tokens=100, **user)
        assert made.content[0].text
        with claude.messages.stream(max_tokens=100, **user) as stream:
            assert "".join(stream.text_stream)

    def token_counts():
        assert claude.messages.count_tokens(**user).input_tokens

    def headers():
        made = client.chat.completions.create(extra_headers={"X-Session-ID": "s-9"}, **user)
        assert made.choices and emu.requests[-1].headers.get("X-Session-ID") == "s-9"

    return [chat, stream, tools, streamed_tools, structured, embeddings, models, files, errors, responses, messages,
            token_counts, headers]


# ---- llama-index-llms-gigachat-ru


def llama_index_steps(emu):
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.gigachat import GigaChatLLM

    model = GigaChatLLM(**{name: emu.config[name] for name in ("base_url", "auth_url", "credentials")})
    messages = [ChatMessage(role="system", content="Кратко."), ChatMessage(role="user", content="Привет")]

    def complete():
        assert model.complete("Привет").text

    def chat():
        assert model.chat(messages).message.content and len(sent(emu)["messages"]) == 2

    def stream_complete():
        parts = list(model.stream_complete("Привет"))
        assert len(parts) > 1 and parts[-1].text == "".join(part.delta for part in parts)

    async def asynchronous():
        assert (await model.acomplete("Привет")).text and (await model.achat(messages)).message.content
        parts = [part async for part in await model.astream_complete("Привет")]
        assert parts[-1].text == "".join(part.delta for part in parts) != ""

    def metadata():
        assert model.metadata.model_name == "GigaChat" and model.metadata.context_window

    def structured():
        from llama_index.core.program import LLMTextCompletionProgram
        from pydantic import BaseModel

        class City(BaseModel):
            name: str
            population: int

        scripted(emu, says(json.dumps(CITY)))
        made = LLMTextCompletionProgram.from_defaults(output_cls=City, prompt_template_str="{x}", llm=model)(x="Тверь")
        assert made == City(**CITY)

    return [complete, chat, stream_complete, asynchronous, metadata, structured]


# ---- pydantic-ai-gigachat


def pydantic_ai_steps(emu):
    from gigachat import GigaChat
    from pydantic import BaseModel
    from pydantic_ai import Agent, PromptedOutput
    from pydantic_ai_gigachat import GigaChatModel, GigaChatProvider

    made = GigaChat(**{name: emu.config[name] for name in ("base_url", "auth_url", "credentials")})
    model = GigaChatModel("GigaChat-2", provider=GigaChatProvider(client=made))

    class City(BaseModel):
        name: str
        population: int

    def chat():
        result = Agent(model, system_prompt="Кратко.").run_sync("Привет")
        assert result.output and sent(emu)["messages"][0]["role"] == "system"
        again = Agent(model).run_sync("Ещё", message_history=result.all_messages())
        assert again.output and len(sent(emu)["messages"]) == 4

    async def stream():
        async with Agent(model).run_stream("Привет") as result:
            parts = [text async for text in result.stream_text(delta=True, debounce_by=None)]
        assert len(parts) > 1 and "".join(parts)

    def tools():
        agent = Agent(model)

        @agent.tool_plain
        def weather(city: str) -> Dict[str, str]:
            """Tell the weather of a city."""
            return {city: "rain"}

        scripted(emu, calls(WEATHER), says("Дождь"))
        assert agent.run_sync("Погода?").output == "Дождь" and sent(emu)["messages"][-1]["role"] == "function"

    def structured():
        scripted(emu, calls({"name": "final_result", "arguments": CITY}))
        assert Agent(model, output_type=City).run_sync("Тверь").output == City(**CITY)
        scripted(emu, says(json.dumps(CITY)))
        assert Agent(model, output_type=PromptedOutput(City)).run_sync("Тверь").output == City(**CITY)

    def settings():
        Agent(model).run_sync("Привет", model_settings={"temperature": 0.5, "max_tokens": 50})
        assert sent(emu)["temperature"] == 0.5 and sent(emu)["max_tokens"] == 50

    async def token_counts():
        from pydantic_ai.messages import ModelRequest, UserPromptPart
        from pydantic_ai.models import ModelRequestParameters

        asked = [ModelRequest(parts=[UserPromptPart(content="раз два")])]
        assert (await model.count_tokens(asked, None, ModelRequestParameters())).input_tokens

    async def provider():
        own = GigaChatProvider(authorization_key=emu.credentials, base_url=emu.base_url)
        assert type(own.client) is GigaChat
        await own.aclose()

    return [chat, stream, tools, structured, settings, token_counts, provider]


STEPS = {"langchain_gigachat": langchain_steps, "gpt2giga": gpt2giga_steps,
         "llama_index.llms.gigachat": llama_index_steps, "pydantic_ai_gigachat": pydantic_ai_steps}


def main(name):
    alias.install()
    failed = 0
    with Emulator() as emu:
        for step in STEPS[name](emu):
            try:
                asyncio.run(step()) if asyncio.iscoroutinefunction(step) else step()
                emu.check()
                print("ok", step.__name__)
            except Exception:
                traceback.print_exc()
                failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
