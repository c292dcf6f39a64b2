"""Stream an answer to a browser. Serve it: flask --app examples/flask_stream.py run"""

try:
    from flask import Flask, Response, request
except ImportError:
    raise SystemExit("Этому примеру нужен Flask: pip install flask") from None

from gigachat_lite import GigaChat

app = Flask(__name__)
giga = GigaChat()  # one for the process: all requests share its token and its connections


@app.route("/ask")
def ask():
    # The status is known before the first word: an error here is an error page, not half a page.
    stream = giga.stream(request.args.get("q", "Расскажи о Байкале"))
    texts = (chunk.choices[0].delta.content or "" for chunk in stream)
    response = Response(texts, mimetype="text/plain")
    response.call_on_close(stream.close)  # whoever leaves early must not hold the only place of a private key
    return response


if __name__ == "__main__":  # one request to itself
    with giga, app.test_client() as client, client.get("/ask") as page:
        for piece in page.iter_encoded():
            print(piece.decode("utf-8"), end="", flush=True)
        print("\nСтатус:", page.status)
