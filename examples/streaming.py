"""Show an answer as it is written, and say so if it was cut."""

from gigachat_lite import GigaChat, StreamError

with GigaChat() as giga, giga.stream("Расскажи о Байкале") as stream:
    try:
        for chunk in stream:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
        print("\nТокенов:", stream.usage.total_tokens)
    except StreamError as error:
        print("\nПоток оборвался:", error)
