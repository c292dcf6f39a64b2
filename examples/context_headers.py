"""Set headers once for all calls of a context: a session for the prompt cache, an id for your logs, your own ones."""

import contextvars
from concurrent.futures import ThreadPoolExecutor

from gigachat_lite import GigaChat, custom_headers_cvar, request_id_cvar, session_id_cvar


def ask(question, **options):
    ids = giga.chat(question, **options).x_headers  # the service gives back the ids it was given, or makes new ones
    print(f"{question} X-Session-ID: {ids.get('x-session-id')}, X-Request-ID: {ids.get('x-request-id')}")


with GigaChat() as giga:
    session_id_cvar.set("s-42")  # with a constant one the beginning that prompts share comes from the cache
    custom_headers_cvar.set({"X-Department": "42"})
    ask("Раз?")

    before = request_id_cvar.set("11111111-2222-4333-8444-555555555555")
    ask("Два?")
    request_id_cvar.reset(before)

    with ThreadPoolExecutor() as pool:  # a thread begins with an empty context: hand it a copy of this one
        pool.submit(contextvars.copy_context().run, ask, "Три?").result()

    ask("Четыре?", headers={"X-Session-ID": "s-43"})  # for one call, stronger than the context
