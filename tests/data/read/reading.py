"""Helpers: read what lies in a folder, and what was counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftheta.data.documents import Document
from ftheta.data.read.account import Account
from ftheta.data.sources.text import TextFiles


def source(path: Path | str | list[str], **fields: Any) -> TextFiles:
    return TextFiles.parse({"kind": "text_files", "path": path if isinstance(path, list) else str(path), **fields})


def read(path: Path | str | list[str], **fields: Any) -> tuple[list[Document], Account]:
    """Every document, and the account, with what is bad left out."""
    read_from, account = source(path, on_bad="quarantine", most_bad=1.0, **fields), Account()
    documents = [document for file in read_from.files() for document in read_from.read(file, account)]
    assert account.good == len(documents) == len({document.name for document in documents})
    assert account.bad.total() == len(account.records)
    return documents, account


def named(path: Path | str | list[str], **fields: Any) -> dict[str, str]:
    return {document.name: document.text for document in read(path, **fields)[0]}


def reasons(account: Account) -> dict[str, str]:
    """Bad file or row → why."""
    return {f"{bad.file}:{bad.row}" if bad.row else bad.file: bad.reason for bad in account.records}
