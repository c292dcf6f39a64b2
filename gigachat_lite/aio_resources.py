"""The endpoints with a name of their own, for asyncio: the twins of ``resources.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .aio import stream_twin, twin
from .resources import AssistantsResource, BatchesResource, ChatResource, Resource, ThreadsResource

if TYPE_CHECKING:
    from .aio import AsyncParse
    from .models import ChatCompletionResponse


class AsyncResource(Resource):
    """A group of endpoints whose twins it holds."""

    __slots__ = ("_twin",)

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource._client)
        self._twin = resource


class AsyncChatResource(AsyncResource):
    """``chat`` for asyncio: ``await giga.achat(payload)``."""

    __slots__ = ()
    __call__ = twin(ChatResource.__call__, counted=True)
    create = twin(ChatResource.create, counted=True)
    stream = stream_twin(ChatResource.stream)
    parse: AsyncParse[ChatCompletionResponse] = twin(ChatResource.parse, counted=True)  # type: ignore[assignment]
    run_functions = twin(ChatResource.run_functions, counted=True)


class AsyncBatchesResource(AsyncResource):
    """``batches`` for asyncio."""

    __slots__ = ()
    create = twin(BatchesResource.create)
    get = twin(BatchesResource.get)
    list = twin(BatchesResource.list)
    results = twin(BatchesResource.results)


class AsyncAssistantsResource(AsyncResource):
    """``assistants`` for asyncio."""

    __slots__ = ()
    get = twin(AssistantsResource.get)
    create = twin(AssistantsResource.create)
    update = twin(AssistantsResource.update)
    delete_file = twin(AssistantsResource.delete_file)
    delete = twin(AssistantsResource.delete)


class AsyncThreadsResource(AsyncResource):
    """``threads`` for asyncio."""

    __slots__ = ()
    get_threads = list = twin(ThreadsResource.get_threads)
    create_thread = twin(ThreadsResource.create_thread)
    retrieve = twin(ThreadsResource.retrieve)
    delete = twin(ThreadsResource.delete)
    get_messages = twin(ThreadsResource.get_messages)
    add_message = twin(ThreadsResource.add_message)
    add_messages = twin(ThreadsResource.add_messages)
    run = twin(ThreadsResource.run)
    get_run = twin(ThreadsResource.get_run)
    run_stream = stream_twin(ThreadsResource.run_stream)
    run_messages = twin(ThreadsResource.run_messages, counted=True)
    rerun_messages = twin(ThreadsResource.rerun_messages, counted=True)
    run_messages_stream = stream_twin(ThreadsResource.run_messages_stream)
    rerun_messages_stream = stream_twin(ThreadsResource.rerun_messages_stream)
