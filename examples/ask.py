"""Ask one question: python examples/ask.py "Почему небо голубое?" """

import sys

from gigachat_lite import GigaChat

with GigaChat() as giga:
    question = " ".join(sys.argv[1:]) or "Почему небо голубое?"
    print(giga.chat(question).choices[0].message.content)
