"""Read raw records from Parquet, JSON lines, JSON and CSV files; say why a record is unreadable."""

from __future__ import annotations

import codecs
import csv
import json
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import count
from typing import Any

import fsspec
import pyarrow.parquet as pq

from more_ray.data.records import Pair
from more_ray.data.rejects import Reason, Reject
from more_ray.data.shapes import AS_KNOWN, HowToRead, Row, read_pairs
from more_ray.errors import DataError

EXTENSIONS = (".parquet", ".jsonl", ".jsonl.gz", ".json", ".csv")
MAX_CSV_FIELD = 2**27

Reader = Callable[[Any, str], Iterable["Row | Reject"]]


def read_file(url: str, source: str, how: HowToRead = AS_KNOWN) -> Iterator[Pair | Reject]:
    """The pairs and rejects of one file; only JSON arrays and message trees are held in memory.

    Raises:
        DataError: no such file, an unknown extension, no record in a known shape, or no record with
            a path of `how.columns`.
    """
    yield from read_pairs(read_records(url), source, url, how)


def read_records(url: str) -> Generator[Row | Reject, None, None]:
    """The raw records of one file, each with where it was found, and rejects for unreadable ones.

    Raises:
        DataError: no such file, an unknown extension, or a read that failed.
    """
    reader = reader_of(url)
    try:
        opened = fsspec.open(url, "rb", compression="infer").open()
    except (OSError, ValueError, ImportError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise DataError(f"{url}: {reason}") from error
    with opened as stream:
        yield from _until_corrupt(reader, stream, url)


def reader_of(url: str) -> Reader:
    """The function that reads files with this extension; raises DataError where there is none."""
    readers: dict[tuple[str, ...], Reader] = {
        (".parquet",): _parquet_rows,
        (".jsonl", ".jsonl.gz"): _jsonl_rows,
        (".json",): _json_rows,
        (".csv",): _csv_rows,
    }
    for extensions, reader in readers.items():
        if url.endswith(extensions):
            return reader
    raise DataError(f"{url}: unknown kind of file; allowed: {', '.join(EXTENSIONS)}")


def _until_corrupt(reader: Reader, stream: Any, url: str) -> Iterator[Row | Reject]:
    try:
        yield from reader(stream, url)
    except (OSError, EOFError, ValueError, RecursionError, zlib.error, csv.Error) as error:
        if getattr(error, "errno", None):  # the disk or the network, not the content
            raise DataError(f"{url}: reading it failed: {error}") from error
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        yield Reject(Reason.CORRUPT_FILE, url, detail)
    except Exception as error:  # each remote storage raises its own classes
        raise DataError(f"{url}: reading it failed: {type(error).__name__}: {error}") from error


def _parquet_rows(stream: Any, url: str) -> Iterator[Row | Reject]:
    number = count()
    for batch in pq.ParquetFile(stream).iter_batches(batch_size=1024):
        for row in range(len(batch)):
            where = f"{url} row {next(number)}"
            try:
                (record,) = batch.slice(row, 1).to_pylist()
            except UnicodeDecodeError as error:
                yield Reject(Reason.INVALID_UTF8, where, error.reason)
            else:
                yield where, record


def _jsonl_rows(stream: Any, url: str) -> Iterator[Row | Reject]:
    for number, line in enumerate(_lines(stream), start=1):
        if line.strip():
            yield _json_line(line, f"{url}:{number}")


def _lines(stream: Any) -> Iterator[bytes]:
    """The lines, without the byte-order mark that some programs write first."""
    for number, line in enumerate(stream):
        yield line if number else line.removeprefix(codecs.BOM_UTF8)


def _json_line(line: bytes, where: str) -> Row | Reject:
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return Reject(Reason.INVALID_UTF8, where, f"byte {error.start}: {error.reason}")
    except (ValueError, RecursionError) as error:
        return Reject(Reason.CORRUPT_LINE, where, str(error))
    return _record(record, where)


def _json_rows(stream: Any, url: str) -> Iterator[Row | Reject]:
    content = stream.read().removeprefix(codecs.BOM_UTF8)
    lines = content.splitlines(keepends=True)
    first = next((line for line in lines if line.strip()), b"")
    if first.lstrip().startswith(b"{") and _is_json(first):
        yield from _jsonl_rows(lines, url)  # JSON lines under the other extension
        return
    records = json.loads(content)
    if not isinstance(records, list):
        raise ValueError("allowed: a list of records")
    for number, record in enumerate(records):
        yield _record(record, f"{url} row {number}")


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _record(record: Any, where: str) -> Row | Reject:
    if isinstance(record, dict):
        return where, record
    return Reject(Reason.WRONG_TYPE, where, f"allowed: an object, got {type(record).__name__}")


def _csv_rows(stream: Any, url: str) -> Iterator[Row | Reject]:
    csv.field_size_limit(MAX_CSV_FIELD)
    # Bytes that are not UTF-8 pass as surrogates, which the check of each field then rejects.
    rows = csv.reader(line.decode(errors="surrogateescape") for line in _lines(stream))
    header = next(rows, [])
    number = 0
    while True:
        where = f"{url} row {number}"
        try:
            fields = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield Reject(Reason.CORRUPT_LINE, where, str(error))
        else:
            if not fields:
                continue
            if len(fields) == len(header):
                yield where, dict(zip(header, fields, strict=True))
            else:
                detail = f"{len(fields)} fields, the header has {len(header)}"
                yield Reject(Reason.CORRUPT_LINE, where, detail)
        number += 1
