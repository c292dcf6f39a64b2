"""Count tokens before a question and after its answer, and what they cost."""

from gigachat_lite import ForbiddenError, GigaChat

PRICE = 0.0  # roubles for 1000 tokens of your model: it stands in your tariff, fill it in
QUESTION = "Расскажи о Байкале"


def cost(tokens):
    return f"{tokens} токенов, {tokens * PRICE / 1000:.2f} руб."


with GigaChat() as giga:
    # Free of charge. The service wraps a few tokens of its own around each message.
    before = giga.tokens_count([QUESTION])[0]
    print(f"До запроса: {cost(before.tokens)}, знаков: {before.characters}")

    usage = giga.chat({"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 500}).usage
    print("Вопрос:", cost(usage.prompt_tokens))
    print("Ответ:", cost(usage.completion_tokens))
    print("Всего:", cost(usage.total_tokens))
    print("Из кэша, не оплачиваются:", usage.precached_prompt_tokens or 0)

    try:
        for package in giga.get_balance().balance:
            print(f"Осталось {package.usage}: {package.value} токенов")
    except ForbiddenError:
        print("Остатка нет: по этому договору платят по факту")
