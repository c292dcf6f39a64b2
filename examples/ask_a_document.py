"""Upload a document and ask about it; a path, as in upload_file("contract.pdf"), will do as well."""

from gigachat_lite import GigaChat

CONTRACT = """Договор аренды дачи.
Арендатор платит тридцать тысяч рублей в месяц, не позднее пятого числа.
Залог возвращается в день выезда. Собаку держать можно, козу нельзя.
"""

with GigaChat() as giga:
    document = giga.upload_file(("contract.txt", CONTRACT.encode("utf-8")))
    try:
        for question in ("Можно ли держать козу?", "Когда возвращается залог?"):
            # The model opens the document by a function of its own, which "auto" lets it call.
            asked = {"role": "user", "content": question, "attachments": [document.id]}
            response = giga.chat({"messages": [asked], "function_call": "auto"})
            print(f"{question}\n  {response.text}")
    finally:
        giga.delete_file(document.id)  # the service would keep it
