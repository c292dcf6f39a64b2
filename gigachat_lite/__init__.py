"""A small client of the GigaChat API, with asyncio and without: requests, urllib3, python-dotenv, nothing else."""

# ruff: noqa: F403, F405 # the files of models say in __all__ what they give

from __future__ import annotations

from typing import TYPE_CHECKING

from .client import GigaChat, GigaChatAsyncClient, GigaChatSyncClient
from .config import load_config, redact
from .context import (
    agent_id_cvar,
    authorization_cvar,
    chat_completions_url_cvar,
    chat_url_cvar,
    client_id_cvar,
    custom_headers_cvar,
    operation_id_cvar,
    request_id_cvar,
    service_id_cvar,
    session_id_cvar,
    trace_id_cvar,
)
from .exceptions import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ContentFilterError,
    ForbiddenError,
    FunctionCallError,
    GigaChatException,
    LengthFinishReasonError,
    ModelNotSpecifiedError,
    NotFoundError,
    ParseError,
    PaymentRequiredError,
    RateLimitError,
    RequestEntityTooLargeError,
    RequestTimeout,
    ResponseError,
    ServerError,
    StreamError,
    TLSError,
    TransportError,
    UnprocessableEntityError,
)
from .transport import __version__

if TYPE_CHECKING:
    from .aio import AsyncStream
    from .emulator import Emulator
    from .models import *
    from .sse import Stream
    from .streams import ChatStream, ThreadStream

__all__ = [
    "AICheckResult", "APIResponse", "AccessToken", "Answer", "Assistant", "AssistantAttachment", "AssistantDelete",
    "AssistantFileDelete", "Assistants", "AsyncStream", "AuthenticationError", "BadRequestError", "Balance",
    "BalanceValue", "Batch", "BatchError", "BatchRequest", "BatchRequestCounts", "BatchResult", "Batches", "Chat",
    "ChatCompletion", "ChatCompletionChunk", "ChatCompletionRequest", "ChatCompletionResponse", "ChatContentFile",
    "ChatContentPart", "ChatFilterConfig", "ChatFilterContentConfig", "ChatFilterResponseContentConfig",
    "ChatFunctionCall", "ChatFunctionResult", "ChatFunctionSpecification", "ChatFunctionsTool", "ChatInlineData",
    "ChatLogprob", "ChatLogprobToken", "ChatMessage", "ChatMessageChunk", "ChatModelOptions", "ChatRankerOptions",
    "ChatReasoning", "ChatResponseFormat", "ChatSource", "ChatStorage", "ChatStream", "ChatTool", "ChatToolConfig",
    "ChatToolExecution", "ChatUsage", "ChatUsageInputTokensDetails", "ChatUserInfo", "ChatWebSearchTool", "Choices",
    "ChoicesChunk", "ConfigurationError", "ContentFilterError", "CreateAssistant", "DeletedFile", "Embedding",
    "Embeddings", "EmbeddingsUsage", "Emulator", "FewShotExample", "ForbiddenError", "Function", "FunctionCall",
    "FunctionCallError", "FunctionIssue", "FunctionParameters", "FunctionParametersProperty", "FunctionRanker",
    "FunctionValidation", "GigaChat", "GigaChatAsyncClient", "GigaChatException", "GigaChatSyncClient", "Image",
    "JsonSchemaResponseFormat", "LengthFinishReasonError", "Messages", "MessagesChunk", "MessagesRole", "Model",
    "ModelNotSpecifiedError", "Models", "NotFoundError", "Obj", "OpenApiFunctions", "ParseError",
    "PaymentRequiredError", "PrimaryChatCompletionChunk", "PrimaryChatFunctionCall", "RateLimitError",
    "RequestEntityTooLargeError", "RequestTimeout", "ResponseError", "ResponseFormat", "ServerError", "Storage",
    "Stream", "StreamError", "TLSError", "Thread", "ThreadCompletion", "ThreadCompletionChunk", "ThreadMessage",
    "ThreadMessageAttachment", "ThreadMessageResponse", "ThreadMessages", "ThreadMessagesResponse",
    "ThreadRunOptions", "ThreadRunResponse", "ThreadRunResult", "ThreadStatus", "ThreadStream", "Threads", "Token",
    "TokensCount", "TokensCounts", "TransportError", "UnprocessableEntityError", "UploadedFile", "UploadedFiles",
    "Usage", "__version__", "agent_id_cvar", "authorization_cvar", "chat_completions_url_cvar", "chat_url_cvar",
    "client_id_cvar", "custom_headers_cvar", "load_config", "operation_id_cvar", "redact", "request_id_cvar",
    "service_id_cvar", "session_id_cvar", "trace_id_cvar",
]


if not TYPE_CHECKING:  # a type checker is to see the names above alone

    def __getattr__(name):
        """Import on first use what is heavy, or what few programs need."""
        from importlib import import_module

        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        modules = {"AsyncStream": "aio", "ChatStream": "streams", "Emulator": "emulator", "Stream": "sse"}
        module = "streams" if name == "ThreadStream" else modules.get(name, "models")
        value = getattr(import_module("." + module, __name__), name)
        globals()[name] = value
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
