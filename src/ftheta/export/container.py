"""A folder to build a container image of: the model, this package as it is installed here, the versions it runs with, and the command that serves them."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ftheta
from ftheta.core.atomic import Attempt
from ftheta.core.errors import MissingExtraError
from ftheta.export.format import Consumer, Format, Ours
from ftheta.models.folder import load, save
from ftheta.models.model import Model

PACKAGES = (
    "torch", "numpy", "safetensors", "tokenizers", "pydantic", "ruamel.yaml", "typer", "rich", "pyarrow", "xxhash",
    "jinja2", "platformdirs", "matplotlib", "fastapi", "uvicorn",
)
"""What serving needs, in the versions this model was compared with."""
DOCKERFILE = """\
# docker build -t ftheta-model . && docker run --rm -p 8000:8000 -e FTHETA_KEY=choose-one ftheta-model
FROM python:{python}-slim
RUN useradd --create-home --uid 10001 ftheta
WORKDIR /srv
COPY requirements.txt .
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -r requirements.txt
COPY package ./package
COPY model ./model
ENV PYTHONPATH=/srv/package
USER ftheta
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
CMD ["python", "-c", "from ftheta.cli import main; main()", "serve", "model", "--host", "0.0.0.0", "--port", "8000"]
"""
IGNORED = "**\n!model\n!package\n!requirements.txt\n"


class DockerContext(Format):
    """A Dockerfile, pinned requirements and the model folder, served by `ftheta serve`."""

    def write(self, model: Model, attempt: Attempt) -> None:
        save(model, attempt.path / "model")
        for path in sorted((attempt.path / "model").rglob("*")):
            if path.is_file():
                attempt.adopt(path.relative_to(attempt.path).as_posix())
        root = Path(ftheta.__file__).parent
        for path in sorted(root.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                attempt.write(f"package/ftheta/{path.relative_to(root).as_posix()}", path.read_bytes())
        attempt.write_text("requirements.txt", "".join(f"{name}=={number}\n" for name, number in pinned().items()))
        attempt.write_text("Dockerfile", DOCKERFILE.format(python=".".join(platform.python_version_tuple()[:2])))
        attempt.write_text(".dockerignore", IGNORED)

    def open(self, folder: Path) -> Consumer:
        return Ours(load(folder / "model"))


def pinned() -> dict[str, str]:
    """Package → version here, without what says which build it is. Raises MissingExtraError where one is not installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            raise MissingExtraError(name, "serve", "pinning what a server needs") from None
    return found
