"""The library after a refactoring: one query where there were two, and the same answers."""

import library
from library import application  # noqa: F401, gunicorn serves it


def book(number, _query):
    library.ask_catalog(25)
    loans = "SELECT count(*) FROM loans WHERE loans.book = books.id"
    query = f"SELECT id, title, author, ({loans}) AS loans FROM books WHERE id = ?"
    row = library.database().execute(query, (number,)).fetchone()
    if row is None:
        return None
    found = dict(row)
    count = found.pop("loans")
    return {"loans": count, "book": found}


library.ROUTES[("GET", "books")] = book
