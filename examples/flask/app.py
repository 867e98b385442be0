"""A Flask application that asks people what they think of its responses.

Feedback goes through an outbox: the page answers at once, also while Heed is away.
"""

from flask import Flask, redirect, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from heed_client import Heed

RESPONSES = {
    "greenhouse": "Gases let sunlight in and hold heat back.",
    "tides": "The moon pulls the oceans, and the earth turns below them.",
}
PAGE = Markup("""<!doctype html><title>Ask</title>
<form action="/ask" method="post"><input name="prompt" autofocus><button>Ask</button></form>{}""")
THUMBS = Markup("""<p>{response}</p><form action="/feedback/{interaction_id}" method="post">
<button name="thumb" value="up">Good</button> <button name="thumb" value="down">Bad</button>
<input name="comment" placeholder="Why?"></form>""")


def respond(prompt: str) -> str:
    """What your model would say."""
    known = (said for topic, said in RESPONSES.items() if topic in prompt.lower())
    return next(known, "I do not know that yet.")


def create_app() -> Flask:
    """The application; HEED_URL and HEED_API_KEY say where feedback goes."""
    app = Flask(__name__)
    heed = Heed(outbox=f"{app.instance_path}/feedback-outbox.db")

    @app.get("/")
    def index() -> str:
        return PAGE.format(Markup(""))

    @app.post("/ask")
    def ask() -> str:
        with heed.interaction(request.form["prompt"], agent_name="flask-example") as it:
            it.step("Look the topic up")
            it.respond(response := respond(request.form["prompt"]))
        return PAGE.format(THUMBS.format(response=response, interaction_id=it.interaction_id))

    @app.post("/feedback/<interaction_id>")
    def feedback(interaction_id: str) -> Response:
        heed.feedback.send(
            interaction_id=interaction_id,
            thumbs="up" if request.form["thumb"] == "up" else "down",
            comment=request.form.get("comment") or None,
        )
        return redirect(url_for("index"))

    return app
