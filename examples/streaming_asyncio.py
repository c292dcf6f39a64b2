"""The same with asyncio: a stream as it is written, then several questions at the same time."""

import asyncio

from gigachat_lite import GigaChat

QUESTIONS = ["Сколько будет 2 + 2?", "Сколько будет 3 * 7?", "Сколько будет 100 - 1?"]


async def main():
    async with GigaChat() as giga:
        async for chunk in giga.astream("Расскажи о Байкале"):
            print(chunk.choices[0].delta.content or "", end="", flush=True)
        print()

        # A private person's key gets one answer at a time: the others wait for their turn.
        responses = await asyncio.gather(*[giga.achat(question) for question in QUESTIONS])
        for question, response in zip(QUESTIONS, responses):
            print(question, "-", response.choices[0].message.content)


asyncio.run(main())
