"""Talk with the model: the service remembers nothing, so each question goes with all that was said before."""

from gigachat_lite import GigaChat, GigaChatException

messages = [{"role": "system", "content": "Ты вежливый собеседник. Отвечай коротко."}]

with GigaChat() as giga:
    while True:
        try:
            question = input("Вы: ")
        except EOFError:  # Ctrl-D, on Windows Ctrl-Z and Enter, or the end of what was piped in
            break
        if not question.strip():
            continue
        messages.append({"role": "user", "content": question})
        try:
            response = giga.chat(messages)
        except GigaChatException as error:
            print("Ошибка:", error)
            messages.pop()  # a question without an answer would spoil the history
        else:
            messages.append(response.choices[0].message)
            print("GigaChat:", response.choices[0].message.content)
print()
