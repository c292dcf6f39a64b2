"""Ask many questions in threads: one client serves them all, they share its token and its connections."""

from concurrent.futures import ThreadPoolExecutor

from gigachat_lite import GigaChat, GigaChatException

QUESTIONS = [f"Сколько будет {number} * {number}?" for number in range(1, 9)]


def ask(question):
    try:
        return giga.chat(question).choices[0].message.content
    except GigaChatException as error:  # one failure is no reason to lose the other answers
        return f"Ошибка: {error}"


# At a time the service answers one question of a private person, ten of a company (max_connections). The others wait
# here for their turn, up to pool_timeout seconds.
with GigaChat(pool_timeout=600) as giga, ThreadPoolExecutor(max_workers=4) as pool:
    for question, answer in zip(QUESTIONS, pool.map(ask, QUESTIONS)):
        print(question, "-", answer)
