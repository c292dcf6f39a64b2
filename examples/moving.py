"""Moving from the official SDK: the import changes, and nothing else."""

# Before:
# from gigachat import GigaChat
# from gigachat.exceptions import GigaChatException, ResponseError
# from gigachat.models import Chat, Messages, MessagesRole

# After:
from gigachat_lite import GigaChat
from gigachat_lite.exceptions import GigaChatException, ResponseError
from gigachat_lite.models import Chat, Messages, MessagesRole

payload = Chat(
    messages=[Messages(role=MessagesRole.SYSTEM, content="Отвечай одним предложением.")],
    temperature=0.7,
    max_tokens=200,
)

with GigaChat() as giga:
    for question in ("Меня зовут Оля. Сколько будет 2 + 2?", "Как меня зовут?"):
        payload.messages.append(Messages(role=MessagesRole.USER, content=question))
        try:
            response = giga.chat(payload)
        except ResponseError as error:
            raise SystemExit(f"Сервис ответил ошибкой: {error}") from None
        except GigaChatException as error:
            raise SystemExit(f"Запрос не удался: {error}") from None
        payload.messages.append(response.choices[0].message)
        print(response.choices[0].message.content)
    payload.messages.append(Messages(role=MessagesRole.USER, content="Расскажи о Байкале"))
    for chunk in giga.stream(payload):
        print(chunk.choices[0].delta.content, end="")
    print("\nТокенов в вопросе:", giga.tokens_count(["Как меня зовут?"])[0].tokens)
