"""The API's requests and answers: dicts whose keys are attributes too.

Every class lists the fields that the API documents, for editors and type checkers; unknown fields are kept and can be
read in the same two ways. The same classes build requests, and plain dicts are accepted wherever they are.
A field that a dict's own method hides (``items``, ``keys``, ``get`` …) is read as ``obj["items"]``.

The files are those of the official package's ``gigachat.models``, so that imports from them move over too. What a
program seldom needs is loaded at its first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

# ruff: noqa: F403, F405 # each file says in __all__ what it gives
from .base import *
from .chat import *

WithXHeaders = Answer  # its name in older versions of the official package

if TYPE_CHECKING:
    from . import assistants, threads
    from .assistants import *
    from .auth import *
    from .batches import *
    from .chat_completions import *
    from .embeddings import *
    from .files import *
    from .models import *
    from .response_format import *
    from .threads import *
    from .tools import *
else:
    LATER = {
        "assistants": "Assistant AssistantAttachment AssistantDelete AssistantFileDelete Assistants CreateAssistant",
        "auth": "AccessToken Token",
        "batches": "Batch BatchError BatchRequest BatchRequestCounts BatchResult Batches",
        "chat_completions": (
            "ChatCompletionRequest ChatCompletionResponse ChatContentFile ChatContentPart ChatFilterConfig "
            "ChatFilterContentConfig ChatFilterResponseContentConfig ChatFunctionResult ChatFunctionSpecification "
            "ChatFunctionsTool ChatInlineData ChatLogprob ChatLogprobToken ChatMessage ChatMessageChunk "
            "ChatModelOptions ChatRankerOptions ChatReasoning ChatResponseFormat ChatSource ChatStorage ChatTool "
            "ChatToolConfig ChatToolExecution ChatUsage ChatUsageInputTokensDetails ChatUserInfo ChatWebSearchTool "
            "PrimaryChatCompletionChunk PrimaryChatFunctionCall v2_body"
        ),
        "embeddings": "Embedding Embeddings EmbeddingsUsage",
        "files": "DeletedFile Image UploadedFile UploadedFiles",
        "models": "Model Models",
        "response_format": "JsonSchemaResponseFormat ResponseFormat",
        "threads": (
            "Thread ThreadCompletion ThreadCompletionChunk ThreadMessage ThreadMessageAttachment ThreadMessageResponse "
            "ThreadMessages ThreadMessagesResponse ThreadRunOptions ThreadRunResponse ThreadRunResult ThreadStatus "
            "Threads"
        ),
        "tools": (
            "AICheckResult Balance BalanceValue FunctionIssue FunctionValidation OpenApiFunctions TokensCount "
            "TokensCounts"
        ),
    }
    HOME = {name: room for room, names in LATER.items() for name in names.split()}
    INNER = {"A", "ChatAnswer", "ChunkAnswer", "Ending", "HOME", "INNER", "LATER", "Payload", "T", "TYPE_CHECKING"}
    INNER |= {"Typed", "WithXHeaders", "Word"}
    __all__ = sorted({name for name in (*globals(), *HOME) if name[0].isupper()} - INNER)
    __all__ += ["assistants", "threads"]

    def __getattr__(name):
        if name not in LATER and name not in HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        room = import_module("." + HOME.get(name, name), __name__)
        globals()[name] = value = getattr(room, name) if name in HOME else room
        return value

    def __dir__():
        return [*globals(), *HOME]
