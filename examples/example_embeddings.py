"""Find the nearest text by embeddings."""

from math import sqrt

from gigachat_lite import GigaChat

TEXTS = ["Кошка спит на диване", "Курс рубля вырос", "На диване спит собака"]


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return dot / sqrt(sum(x * x for x in a)) / sqrt(sum(y * y for y in b))


with GigaChat() as giga:
    first, *others = [item.embedding for item in giga.embeddings(TEXTS).data]

for text, vector in zip(TEXTS[1:], others):
    print(f"{cosine(first, vector):.2f}  {text}")
