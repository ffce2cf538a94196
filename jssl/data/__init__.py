"""Data: sources by one spec string, and streams of batches that are a function of (seed, step)."""

from jssl.data.bad import DataError, Undecodable
from jssl.data.batches import read_all, unlabeled
from jssl.data.sources import KINDS, Source, open_source
from jssl.data.stream import Stream, open_stream
from jssl.data.texts import describe_tokens

__all__ = [
    "KINDS",
    "DataError",
    "Source",
    "Stream",
    "Undecodable",
    "describe_tokens",
    "open_source",
    "open_stream",
    "read_all",
    "unlabeled",
]
