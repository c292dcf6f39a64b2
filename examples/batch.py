"""Hand in many questions and have the answers later: for companies that pay as they go."""

import sys
import time

from gigachat_lite import ForbiddenError, GigaChat, ResponseError

QUESTIONS = {"сумма": "Сколько будет 2 + 2?", "озеро": "Расскажи о Байкале"}

with GigaChat() as giga:
    try:
        # Given the id of a batch of another day, look at that one.
        batch = giga.batches.get(sys.argv[1]) if sys.argv[1:] else giga.batches.create(QUESTIONS)
    except ForbiddenError as error:
        sys.exit(f"Этому ключу пакеты недоступны: {error}")

    pause = 0.05  # seconds, to begin with
    while not batch.output_file_id:  # Ctrl-C ends the waiting, not the batch
        print(f"Пакет {batch.id}: {batch.status}")
        time.sleep(pause)
        pause = min(2 * pause, 60)
        batch = giga.batches.get(batch.id)

    for name, answer in giga.batches.results(batch).items():
        # A question that failed has an error in place of its answer, and the others have not lost theirs.
        print(f"{name}:", answer if isinstance(answer, ResponseError) else answer.text)
