"""Parquet files at a path or URI, written atomically."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from more_ray import storage


def read_table(uri: str, columns: list[str] | None = None) -> pa.Table:
    filesystem, path = storage.locate(uri)
    return pq.read_table(path, columns=columns, filesystem=filesystem)


def read_schema(uri: str) -> pa.Schema:
    filesystem, path = storage.locate(uri)
    return pq.read_schema(path, filesystem=filesystem)


def write_tables(uri: str, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write under another name, then rename: readers see a complete file or none."""
    filesystem, path = storage.locate(uri)
    filesystem.create_dir(posixpath.dirname(path), recursive=True)
    aside = f"{path}.partial"
    with pq.ParquetWriter(aside, schema, filesystem=filesystem) as writer:
        for table in tables:
            writer.write_table(table)
    filesystem.move(aside, path)


def write_table(uri: str, table: pa.Table) -> None:
    write_tables(uri, [table], table.schema)
