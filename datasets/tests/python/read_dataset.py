"""Reads every table of a dataset with pyarrow and with DuckDB, and compares with the manifest."""

import json
import pathlib
import sys

import duckdb
import pyarrow as pa
import pyarrow.ipc

NAME = "dictionary<values=string, indices=int32, ordered=0>"
INSTANT = "timestamp[ns, tz=UTC]"
HEADERS = "list<item: struct<name: string not null, value: string not null> not null>"
COLUMNS = {
    "exchanges": {
        "exchange_id": "uint64", "session_id": "uint64", "connection_id": "uint64",
        "trace_id": "fixed_size_binary[16]", "source": NAME, "destination": NAME,
        "client_address": "fixed_size_binary[16]", "server_address": "fixed_size_binary[16]",
        "client_port": "uint16", "server_port": "uint16", "protocol": NAME, "method": NAME,
        "authority": NAME, "path": "string", "query": "string", "route": NAME,
        "request_headers": HEADERS, "response_headers": HEADERS, "request_body": "binary",
        "response_body": "binary", "request_bytes": "uint64", "response_bytes": "uint64",
        "started_at": INSTANT, "request_ended_at": INSTANT, "response_started_at": INSTANT,
        "response_ended_at": INSTANT, "status": "uint16", "completeness": NAME,
    },
    "operations": {
        "protocol": NAME, "source": NAME, "destination": NAME, "statement": "string",
        "fingerprint": "uint64", "started_at": INSTANT, "ended_at": INSTANT, "rows": "uint64",
        "error": "string", "connection_id": "uint64",
    },
    "connections": {
        "connection_id": "uint64", "client_address": "fixed_size_binary[16]",
        "server_address": "fixed_size_binary[16]", "client_port": "uint16", "server_port": "uint16",
        "opened_at": INSTANT, "closed_at": INSTANT, "handshake_rtt_ns": "uint64",
        "retransmitted_segments": "uint64", "out_of_order_segments": "uint64", "lost_bytes": "uint64",
        "client_bytes": "uint64", "server_bytes": "uint64",
    },
    "metrics": {"name": NAME, "labels": "map<string, string>", "at": INSTANT, "value": "double"},
}


def main(folder: pathlib.Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, columns in COLUMNS.items():
        parts = manifest["tables"].get(name, [])
        tables = [pa.ipc.open_file(folder / part["path"]).read_all() for part in parts]
        # Parts have their own dictionaries, which pyarrow unifies.
        everything = pa.concat_tables(tables).unify_dictionaries()
        found = {field.name: str(field.type) for field in everything.schema}
        assert found == columns, f"{name}: {found}"
        expected = sum(part["rows"] for part in parts)
        assert everything.num_rows == expected, f"{name}: {everything.num_rows} rows, {expected} in the manifest"
        counted = duckdb.sql("SELECT count(*) FROM everything").fetchall()[0][0]
        assert counted == expected, f"{name}: DuckDB counts {counted} rows"
        print(f"{name}: {counted} rows")
    exchanges = pa.concat_tables(
        pa.ipc.open_file(folder / part["path"]).read_all() for part in manifest["tables"]["exchanges"]
    ).unify_dictionaries()
    routes = duckdb.sql("SELECT route, count(*) AS n FROM exchanges GROUP BY route").fetchall()
    assert routes == [("GET /items/{id}", exchanges.num_rows)], routes


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
