"""Models of the Hugging Face hub by id, `org/name` or `org/name@revision`: fetched into the hub's own cache, each commit a folder of its own.

Only what a model folder is made of is fetched. `HF_ENDPOINT` names another hub; with `FTHETA_OFFLINE`, `HF_HUB_OFFLINE` or
`TRANSFORMERS_OFFLINE` set nothing is asked and only what the cache holds is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ftheta.core.errors import FolderError, MissingExtraError

PATTERN = re.compile(r"(?P<id>[\w][\w.-]*/[\w][\w.-]*)(@(?P<revision>[\w][\w./-]*))?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors")
FILES = (*WEIGHTS, "*.json", "*.jinja", "*.model", "*.tiktoken", "vocab.txt", "merges.txt", "README.md")
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
ELSEWHERE = ("onnx/*", "openvino/*", "*/*.safetensors", "*/*.bin", "*/*.pt", "*/*.pth")
"""Copies of the weights for other tools."""
OFFLINE = ("FTHETA_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
REMEDY = "or give a local folder that holds the model's files"


class Name(NamedTuple):
    """What stands for a model of the hub."""

    id: str
    revision: str | None

    @property
    def pinned(self) -> bool:
        """Whether it always means the same files."""
        return self.revision is not None and COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        return self.id if self.revision is None else f"{self.id}@{self.revision}"


def named(text: str | Path) -> Name | None:
    """The hub's model that is meant, unless something of this name is here, or its first part is a folder that is."""
    match = PATTERN.fullmatch(str(text))
    if match is None or Path(text).exists() or Path(text).parent.is_dir():
        return None
    return Name(match["id"], match["revision"])


def fetch(name: Name, files: Sequence[str] = FILES) -> tuple[Path, Name]:
    """The folder of a model's files, and its name with the commit. Raises FolderError with what to do, MissingExtraError."""
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError:
        raise MissingExtraError("huggingface-hub", "hub", f"{name} is no folder here, and a model of the hub") from None
    endpoint, offline = address(), offline_by()
    try:
        folder = huggingface_hub.snapshot_download(
            name.id, revision=name.revision, cache_dir=cache(), allow_patterns=list(files), ignore_patterns=list(ELSEWHERE), endpoint=endpoint,
            local_files_only=offline is not None,
        )
    except errors.GatedRepoError:
        raise FolderError(f"{name} is gated: ask for access at {endpoint}/{name.id} and log in with `hf auth login`, {REMEDY}") from None
    except errors.RepositoryNotFoundError:
        what = f"{name} is neither a folder here nor a model at {endpoint}"
        raise FolderError(f"{what} (or it is private: log in with `hf auth login`); correct the name, {REMEDY}") from None
    except errors.RevisionNotFoundError:
        raise FolderError(f"{name.id} at {endpoint} has no revision '{name.revision}': name a branch, a tag or a commit of it") from None
    except errors.LocalEntryNotFoundError as error:
        if offline:
            raise FolderError(f"{name} is not in the cache, and nothing is fetched since {offline} is set: clear it, {REMEDY}") from None
        raise FolderError(f"{name} is no folder here, and {endpoint} cannot be reached ({reason(error)}): try again with a network, {REMEDY}") from None
    except (OSError, errors.HfHubHTTPError) as error:
        raise FolderError(f"{name} cannot be fetched from {endpoint} ({reason(error)}): try again, {REMEDY}") from None
    if files == FILES and not offline and not any(Path(folder).glob("*.safetensors")):
        refuse_pickles(name, huggingface_hub.HfApi(endpoint=endpoint).list_repo_files(name.id, revision=Path(folder).name))
    return Path(folder), Name(name.id, Path(folder).name)


def refuse_pickles(name: Name | Path, files: Sequence[str]) -> None:
    """Raise FolderError when weights are there, but only in files that may run code when they are read."""
    if pickled := sorted(file for file in files if "/" not in file and file.endswith(PICKLED)):
        raise FolderError(
            f"{name}: {pickled[0]} may run code when it is read, so it is not; "
            f"`ftheta import {name} --out FOLDER --unsafe-pickle` makes a folder of it that holds tensors alone"
        )


def address() -> str:
    """The hub that is asked."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def offline_by() -> str | None:
    """The switch that forbids asking it, if one is set."""
    return next((switch for switch in OFFLINE if os.environ.get(switch, "").lower() in ("1", "true", "yes", "on")), None)


def cache() -> str | None:
    """Where the hub's files are kept; none: where its library says."""
    if "HF_HUB_CACHE" in os.environ:
        return os.environ["HF_HUB_CACHE"]
    return str(Path(os.environ["HF_HOME"]) / "hub") if "HF_HOME" in os.environ else None


def reason(error: BaseException) -> str:
    """The first line of what was behind an error."""
    behind: Any = error.__cause__ or error
    return (str(behind).strip() or type(behind).__name__).splitlines()[0]
