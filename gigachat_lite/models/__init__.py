"""The API's requests and answers: dicts whose keys are attributes too.

Every class lists the fields that the API documents, for editors and type checkers; unknown fields are kept and can be
read in the same two ways. The same classes build requests, and plain dicts are accepted wherever they are.
A field that a dict's own method hides (``items``, ``keys``, ``get`` …) is read as ``obj["items"]``.

The files are those of the official package's ``gigachat.models``, so that imports from them move over too. Each is
loaded at the first use of a name in it.
"""

# ruff: noqa: F401, F403 # for type checkers, which are to see all names

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..objects import Obj as Obj
    from . import assistants, threads
    from .assistants import *
    from .auth import *
    from .base import *
    from .batches import *
    from .chat import *
    from .chat_completions import *
    from .embeddings import *
    from .files import *
    from .models import *
    from .response_format import *
    from .threads import *
    from .tools import *
else:
    FILES = {
        "base": "APIResponse Answer Obj WithXHeaders",
        "chat": (
            "Chat ChatCompletion ChatCompletionChunk ChatFunctionCall Choices ChoicesChunk FewShotExample Function "
            "FunctionCall FunctionParameters FunctionParametersProperty FunctionRanker Messages MessagesChunk "
            "MessagesRole Payload Storage Usage"
        ),
        "assistants": "Assistant AssistantAttachment AssistantDelete AssistantFileDelete Assistants CreateAssistant",
        "auth": "AccessToken Token",
        "batches": "Batch BatchError BatchRequest BatchRequestCounts BatchResult Batches",
        "chat_completions": (
            "ChatCompletionRequest ChatCompletionResponse ChatContentFile ChatContentPart ChatFilterConfig "
            "ChatFilterContentConfig ChatFilterResponseContentConfig ChatFunctionResult ChatFunctionSpecification "
            "ChatFunctionsTool ChatInlineData ChatLogprob ChatLogprobToken ChatMessage ChatMessageChunk "
            "ChatModelOptions ChatRankerOptions ChatReasoning ChatResponseFormat ChatSource ChatStorage ChatTool "
            "ChatToolConfig ChatToolExecution ChatUsage ChatUsageInputTokensDetails ChatUserInfo ChatWebSearchTool "
            "PrimaryChatCompletionChunk PrimaryChatFunctionCall"
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
    HOME = {name: file for file, names in FILES.items() for name in names.split()}
    __all__ = sorted({*HOME, "assistants", "threads"} - {"Payload", "WithXHeaders"})

    def __getattr__(name):
        if name not in FILES and name not in HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = import_module("." + HOME.get(name, name), __name__)
        globals()[name] = value = getattr(module, name) if name in HOME else module
        return value

    def __dir__():
        return [*globals(), *HOME]
