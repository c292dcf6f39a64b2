"""Bodies of the service as they were recorded on the wire."""

from __future__ import annotations

# Recorded bodies of the service, as they were on the wire.
CHAT = (
    '{"choices":[{"message":{"content":"Hello.","role":"assistant"},"index":0,"finish_reason":"stop"}],'
    '"created":1768996171,"model":"GigaChat:2.0.28.2","object":"chat.completion","usage":{"prompt_tokens":17,'
    '"completion_tokens":3,"total_tokens":20,"precached_prompt_tokens":2}}')
STREAM = r"""data: {"choices":[{"delta":{"content":"$1\\, 2\\, 3$  \n\n**Подробный разбор:","role":"assistant"},"index":0}],"created":1768996176,"model":"GigaChat:2.0.28.2","object":"chat.completion"}

data: {"choices":[{"delta":{"content":"**\n- Начинаем счёт с единицы."},"index":0}],"created":1768996176,"model":"GigaChat:2.0.28.2","object":"chat.completion"}

data: {"choices":[{"delta":{"content":"\n- Добавляем следующее число — двойку."},"index":0}],"created":1768996176,"model":"GigaChat:2.0.28.2","object":"chat.completion"}

data: {"choices":[{"delta":{"content":"\n- Заканчиваем счётом числом три."},"index":0}],"created":1768996176,"model":"GigaChat:2.0.28.2","object":"chat.completion"}

data: {"choices":[{"delta":{"content":""},"index":0,"finish_reason":"stop"}],"created":1768996176,"model":"GigaChat:2.0.28.2","object":"chat.completion","usage":{"prompt_tokens":17,"completion_tokens":42,"total_tokens":59,"precached_prompt_tokens":2}}

data: [DONE]

"""  # noqa: E501
MODELS_START = '{"object":"list","data":[{"id":"GigaChat","object":"model","owned_by":"salutedevices","type":"chat"},'
MODEL = '{"id":"GigaChat","object":"model","owned_by":"salutedevices","type":"chat"}'
EMBEDDINGS = (
    '{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5],"usage":{"prompt_tokens":9}}],'
    '"model":"Embeddings"}')
COUNTS = '[{"object":"tokens","tokens":2,"characters":10},{"object":"tokens","tokens":2,"characters":11}]'
OAUTH = '{"access_token":"x","expires_at":1739784663483}'
# Of the second version of the chat.
STREAM_V2 = """event: response.message.delta
data: {"model":"GigaChat-3-Ultra:32.3.18.5","created_at":1780321864,"messages":[{"role":"assistant","content":[{"text":"1, 2, 3"}]}]}

event: response.message.done
data: {"model":"GigaChat-3-Ultra:32.3.18.5","created_at":1780321864,"finish_reason":"stop","usage":{"input_tokens":19,"input_tokens_details":{"prompt_tokens":19,"cached_tokens":0},"output_tokens":8,"total_tokens":27}}

"""  # noqa: E501
