"""Notes that PostgreSQL keeps; Redis counts how often they were read."""

import pathlib
import sys
import urllib.request

import flask
import psycopg2
import redis

app = flask.Flask(__name__)
cache = redis.Redis("cache")


def notes(new: str = "") -> list[str]:
    password = pathlib.Path("/run/secrets/password").read_text().strip()
    database = psycopg2.connect(host="db", user="app", password=password, dbname="postgres")
    try:
        with database, database.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS notes (id serial, note text)")
            if new:
                cursor.execute("INSERT INTO notes (note) VALUES (%s)", (new,))
            cursor.execute("SELECT note FROM notes ORDER BY id")
            return [note for (note,) in cursor.fetchall()]
    finally:
        database.close()


@app.get("/")
def show() -> flask.Response:
    lines = [*notes(), f"(read {cache.incr('reads')} times)"]
    return flask.Response("".join(f"{line}\n" for line in lines), mimetype="text/plain")


@app.post("/")
def add() -> flask.Response:
    notes(flask.request.form["note"])
    return flask.Response("kept\n", 201, mimetype="text/plain")


if __name__ == "__main__" and sys.argv[1:] == ["check"]:
    urllib.request.urlopen("http://127.0.0.1:8000/", timeout=5)
