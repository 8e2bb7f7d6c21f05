from flask import Flask

app = Flask(__name__)


@app.route("/")
def page():
    return "<h1>flask</h1>\n"
