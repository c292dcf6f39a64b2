"""Let the model search the web, a tool of the service's own, in version 2 of the chat: giga.chat.create or .stream."""

from gigachat_lite import GigaChat

QUESTION = {"messages": [{"role": "user", "content": "Найди новости о Байкале"}], "tools": ["web_search"]}

sources = {}
with GigaChat() as giga, giga.chat.stream(QUESTION) as stream:
    for event in stream:
        if event.event == "response.tool.in_progress":
            print("Ищу…")
        print(event.text or "", end="", flush=True)
        for message in event.messages or []:
            for part in message.content or []:  # where [sources=[1]] stands in the text, 1 is meant of these
                sources.update((part.inline_data or {}).get("sources") or {})

print()
for number, source in sources.items():
    print(f"[{number}] {source['title']}: {source['url']}")
