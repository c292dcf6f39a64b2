"""Search by meaning: an embedding is a list of numbers, and texts whose numbers are alike are alike themselves."""

from math import sqrt

from gigachat_lite import GigaChat

TEXTS = ["Кошка спит на диване", "Курс рубля вырос", "В лесу пошёл снег", "На диване спит собака"]
QUESTIONS = ["Кто спит на диване?", "Что с курсом рубля?", "Где пошёл снег?"]


def cosine(a, b):
    """Tell how alike two vectors are: 1 is the same direction, 0 has nothing in common."""
    dot = sum(x * y for x, y in zip(a, b))
    return dot / sqrt(sum(x * x for x in a)) / sqrt(sum(y * y for y in b))


with GigaChat() as giga:  # one request for all texts: each request is paid for
    vectors = [item.embedding for item in giga.embeddings(TEXTS + QUESTIONS).data]
texts, questions = vectors[:len(TEXTS)], vectors[len(TEXTS):]

for question, vector in zip(QUESTIONS, questions):
    print(question)
    nearest = sorted(((cosine(vector, other), text) for text, other in zip(TEXTS, texts)), reverse=True)
    for likeness, text in nearest[:2]:
        print(f"  {likeness:.2f}  {text}")
