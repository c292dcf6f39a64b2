"""Have a picture drawn, save it, and ask what can be seen on it."""

import os
import tempfile

from gigachat_lite import GigaChat

path = os.path.join(tempfile.mkdtemp(), "cat.jpg")

# "Look at this" is for the models with Pro or Max in their names.
with GigaChat(model="GigaChat-2-Pro") as giga:
    # "auto" lets the model draw; without it, it can only talk about pictures.
    wish = {"messages": [{"role": "user", "content": "Нарисуй розового кота"}], "function_call": "auto"}
    drawn = giga.chat(wish)
    if not drawn.images:
        raise SystemExit("Картинки нет, модель ответила словами: " + drawn.text)
    size = giga.download_file(drawn.images[0], path)
    print(f"Картинка сохранена: {path}, байт: {size}")

    photo = giga.upload_file(path)
    question = {"role": "user", "content": "Что на картинке?", "attachments": [photo.id]}
    print(giga.chat([question]).text)
    giga.delete_file(photo.id)
