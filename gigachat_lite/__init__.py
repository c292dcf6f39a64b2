"""A small synchronous client of the GigaChat API: requests, urllib3 and python-dotenv, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .client import GigaChat, Stream, __version__
from .config import load_config, redact
from .context import (
    agent_id_cvar,
    authorization_cvar,
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
    GigaChatException,
    LengthFinishReasonError,
    ModelNotSpecifiedError,
    NotFoundError,
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
from .models import (
    AccessToken,
    Answer,
    Chat,
    ChatCompletion,
    ChatCompletionChunk,
    Choices,
    ChoicesChunk,
    Embedding,
    Embeddings,
    EmbeddingsUsage,
    FewShotExample,
    Function,
    FunctionCall,
    Messages,
    MessagesChunk,
    MessagesRole,
    Model,
    Models,
    Obj,
    Storage,
    TokensCount,
    TokensCounts,
    Usage,
)

if TYPE_CHECKING:
    from .emulator import Emulator

__all__ = [
    "AccessToken",
    "Answer",
    "AuthenticationError",
    "BadRequestError",
    "Chat",
    "ChatCompletion",
    "ChatCompletionChunk",
    "Choices",
    "ChoicesChunk",
    "ConfigurationError",
    "ContentFilterError",
    "Embedding",
    "Embeddings",
    "EmbeddingsUsage",
    "Emulator",
    "FewShotExample",
    "ForbiddenError",
    "Function",
    "FunctionCall",
    "GigaChat",
    "GigaChatException",
    "LengthFinishReasonError",
    "Messages",
    "MessagesChunk",
    "MessagesRole",
    "Model",
    "ModelNotSpecifiedError",
    "Models",
    "NotFoundError",
    "Obj",
    "PaymentRequiredError",
    "RateLimitError",
    "RequestEntityTooLargeError",
    "RequestTimeout",
    "ResponseError",
    "ServerError",
    "Storage",
    "Stream",
    "StreamError",
    "TLSError",
    "TokensCount",
    "TokensCounts",
    "TransportError",
    "UnprocessableEntityError",
    "Usage",
    "__version__",
    "agent_id_cvar",
    "authorization_cvar",
    "client_id_cvar",
    "custom_headers_cvar",
    "load_config",
    "operation_id_cvar",
    "redact",
    "request_id_cvar",
    "service_id_cvar",
    "session_id_cvar",
    "trace_id_cvar",
]


def __getattr__(name: str) -> Any:
    if name == "Emulator":  # a heavy room: loaded on first use
        from .emulator import Emulator

        return Emulator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
