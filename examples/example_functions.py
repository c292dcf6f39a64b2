"""Give the model functions: it chooses one and its arguments, run_functions calls it and passes the result on."""

from gigachat_lite import GigaChat

RATES = {"USD": 90.0, "EUR": 98.5, "CNY": 12.4}


def exchange_rate(currency: str) -> dict:
    """Узнать курс валюты к рублю.

    Args:
        currency: трёхбуквенный код валюты, например USD
    """
    return {"currency": currency, "rate": RATES[currency]}  # an error is told to the model, which may ask otherwise


def weather(city: str, days: int = 1) -> dict:
    """Узнать прогноз погоды в городе.

    Args:
        city: название города
        days: на сколько дней вперёд
    """
    return {"city": city, "days": days, "temperature": -3}


with GigaChat() as giga:
    for question in ("Какой сейчас курс USD?", "Какая погода будет в Иркутске на 3 дня вперёд?"):
        run = giga.run_functions(question, functions=[exchange_rate, weather])
        for message in run.messages:  # the whole dialogue: question, call, result, answer
            if message.get("function_call"):
                print("Вызов:", message["function_call"]["name"], message["function_call"]["arguments"])
        print("Ответ:", run.text)
