"""batches, assistants and threads for asyncio."""

from __future__ import annotations

from .async_names import async_method, async_stream
from .resources import AssistantsResource, BatchesResource, Resource, ThreadsResource
from .transport import Transport


class AsyncResource(Resource):
    """A group of endpoints for asyncio, made of the synchronous group."""

    def __init__(self, resource: Resource, transport: Transport) -> None:
        super().__init__(transport)
        self.resource = resource


class AsyncBatchesResource(AsyncResource):
    """``batches`` for asyncio."""

    create = async_method(BatchesResource.create)
    get = async_method(BatchesResource.get)
    list = async_method(BatchesResource.list)
    results = async_method(BatchesResource.results)


class AsyncAssistantsResource(AsyncResource):
    """``assistants`` for asyncio."""

    get = async_method(AssistantsResource.get)
    create = async_method(AssistantsResource.create)
    update = async_method(AssistantsResource.update)
    delete_file = async_method(AssistantsResource.delete_file)
    delete = async_method(AssistantsResource.delete)


class AsyncThreadsResource(AsyncResource):
    """``threads`` for asyncio."""

    get_threads = list = async_method(ThreadsResource.get_threads)
    create_thread = async_method(ThreadsResource.create_thread)
    retrieve = async_method(ThreadsResource.retrieve)
    delete = async_method(ThreadsResource.delete)
    get_messages = async_method(ThreadsResource.get_messages)
    add_message = async_method(ThreadsResource.add_message)
    add_messages = async_method(ThreadsResource.add_messages)
    run = async_method(ThreadsResource.run)
    get_run = async_method(ThreadsResource.get_run)
    run_stream = async_stream(ThreadsResource.run_stream)
    run_messages = async_method(ThreadsResource.run_messages, limited=True)
    rerun_messages = async_method(ThreadsResource.rerun_messages, limited=True)
    run_messages_stream = async_stream(ThreadsResource.run_messages_stream)
    rerun_messages_stream = async_stream(ThreadsResource.rerun_messages_stream)
