"""Three passages, and a query that one of them answers."""

PASSAGES = [
    {"_id": "d1", "title": "Dune", "text": "dune is a novel about a desert planet"},
    {"_id": "d2", "text": "read a csv file with headers"},
    {"_id": "d3", "title": "Threads", "text": "wait for several threads to finish"},
]
QUERY = "who wrote dune"
