"""A library as a WSGI application: books, search, and loans, over SQLite.

Answers carry ids and times of their own, and nothing is known of traces.
"""

import datetime
import json
import os
import random
import sqlite3
import threading
import time
import uuid
from urllib.parse import parse_qs

BOOKS = 2000
ADJECTIVES = ["Silent", "Distant", "Second", "Hidden", "Early", "Long", "Cold", "Open"]
NOUNS = ["River", "Garden", "Winter", "Letter", "Harbor", "Mountain", "Lantern", "Window"]
_local = threading.local()


def database():
    """Returns this worker's connection."""
    if not hasattr(_local, "connection"):
        path = os.path.join(os.environ["DATA"], "library.db")
        _local.connection = sqlite3.connect(path, timeout=5, isolation_level=None)
        _local.connection.row_factory = sqlite3.Row
        _local.connection.execute("PRAGMA synchronous = normal")
    return _local.connection


def create():
    """Makes the database, with the same books each time."""
    connection = database()
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("BEGIN")
    connection.execute("CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT, author TEXT)")
    connection.execute("CREATE TABLE loans (id INTEGER PRIMARY KEY, book INTEGER, reader TEXT)")
    connection.execute("CREATE INDEX loans_by_book ON loans (book)")
    chance = random.Random(7)
    for number in range(1, BOOKS + 1):
        title = f"The {chance.choice(ADJECTIVES)} {chance.choice(NOUNS)} {number}"
        author = f"author{chance.randrange(200)}@example.org"
        connection.execute("INSERT INTO books VALUES (?, ?, ?)", (number, title, author))
    connection.execute("COMMIT")


def ask_catalog(milliseconds):
    """Stands for a call over the network: holds the worker and does nothing."""
    time.sleep(milliseconds / 1000)


def home(_number, _query):
    ask_catalog(15)
    rows = database().execute("SELECT id, title FROM books ORDER BY id LIMIT 10")
    return {"books": [dict(row) for row in rows]}


def book(number, _query):
    ask_catalog(25)
    row = database().execute("SELECT * FROM books WHERE id = ?", (number,)).fetchone()
    if row is None:
        return None
    loans = database().execute("SELECT count(*) AS n FROM loans WHERE book = ?", (number,))
    return {"book": dict(row), "loans": loans.fetchone()["n"]}


def search(_number, query):
    ask_catalog(30)
    words = "%" + query.get("q", [""])[0] + "%"
    rows = database().execute("SELECT id, title FROM books WHERE title LIKE ? LIMIT 20", (words,))
    return {"found": [dict(row) for row in rows]}


def lend(number, _query):
    ask_catalog(15)
    database().execute("INSERT INTO loans (book, reader) VALUES (?, ?)", (number, uuid.uuid4().hex))
    return {"lent": number}


def health(_number, _query):
    return {"status": "ok"}


ROUTES = {
    ("GET", ""): home,
    ("GET", "books"): book,
    ("GET", "search"): search,
    ("POST", "loans"): lend,
    ("GET", "healthz"): health,
}


def application(environ, start_response):
    parts = environ["PATH_INFO"].strip("/").split("/")
    handler = ROUTES.get((environ["REQUEST_METHOD"], parts[0]))
    number = int(parts[1]) if len(parts) == 2 and parts[1].isdigit() else None
    answer = None
    if handler is not None and (number is not None) == (parts[0] in ("books", "loans")):
        answer = handler(number, parse_qs(environ["QUERY_STRING"]))
    status = "200 OK" if answer is not None else "404 Not Found"
    now = datetime.datetime.now(datetime.timezone.utc).isoformat()
    body = json.dumps({"id": str(uuid.uuid4()), "at": now, "answer": answer}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(status, headers)
    return [body]


if __name__ == "__main__":
    create()
