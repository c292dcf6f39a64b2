"""Get an object in place of a text: a dataclass says what is wanted, its annotations of which types."""

from dataclasses import dataclass

from gigachat_lite import ContentFilterError, GigaChat, LengthFinishReasonError, ParseError

LETTER = "Забронируйте столик в Казани на 12 марта в 19:30, нас будет 4 гостя"


@dataclass
class Booking:
    """Бронь столика в ресторане."""  # the model reads this too

    city: str
    date: str
    time: str
    guests: int


with GigaChat() as giga:
    try:
        completion, booking = giga.chat_parse(LETTER, response_format=Booking)
    except (ParseError, LengthFinishReasonError, ContentFilterError) as error:
        raise SystemExit(f"{error}\nМодель написала: {error.text}") from None

print(booking)
print(f"{booking.city}, {booking.date}, {booking.time}: столов {(booking.guests + 3) // 4}")  # guests is a number
print("Токенов:", completion.usage.total_tokens)
