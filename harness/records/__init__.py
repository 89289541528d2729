"""Files of a trial: its measurements and its record. Nothing here imports torch."""

from harness.records.measurement import Measurement
from harness.records.record import STATUSES, Outcome, Record
from harness.records.store import (
    append_jsonl,
    read_json,
    read_jsonl,
    read_record,
    write_json,
    write_record,
    write_text,
)

__all__ = [
    "STATUSES",
    "Measurement",
    "Outcome",
    "Record",
    "append_jsonl",
    "read_json",
    "read_jsonl",
    "read_record",
    "write_json",
    "write_record",
    "write_text",
]
