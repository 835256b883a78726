"""The library after a change that does harm: a search asks for spelling first."""

import library
from library import application  # noqa: F401, gunicorn serves it


def search(number, query):
    library.ask_catalog(120)
    return library.search(number, query)


library.ROUTES[("GET", "search")] = search
