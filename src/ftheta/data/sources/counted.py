"""What a source does with what it cannot use: stop, leave it out and count it, or list it besides."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from ftheta.core.atomic import write_file
from ftheta.core.errors import DataError
from ftheta.core.log import logger
from ftheta.data.read.account import Account, Policy
from ftheta.data.sources.source_config import SourceConfig
from ftheta.data.stages import digest, home


class Counted(SourceConfig):
    """A source that accounts for everything it was given."""

    on_bad: Policy = "error"
    """What to do with a row, or a file, that cannot be used: stop, leave it out, or leave it out and list it in the quarantine file."""
    most_bad: float = Field(0.001, ge=0, le=1)
    """Share of bad rows above which the run stops whatever `on_bad` says. A file that is one text or one picture is one row."""
    quarantine: str | None = None
    """Where bad rows are listed, with file, byte offset and reason; none: a file in the cache, named at the end."""

    def listing(self) -> Path:
        return Path(self.quarantine).expanduser() if self.quarantine else home() / "quarantine" / f"{digest(self.dump())[:16]}.jsonl"

    def close(self, account: Account, nothing: str, looked: str) -> None:
        """Keep the list of what is bad and say what was left out. Raises DataError for too much of it, and for `nothing` good, saying what was looked for."""
        if self.on_bad == "quarantine" and account.bad:
            self.listing().parent.mkdir(parents=True, exist_ok=True)
            write_file(self.listing(), account.lines())
        account.check(self.most_bad)
        if not account.good:
            found = ", ".join(f"{count:,} × {what}" for what, count in {"empty": account.blank, **account.passed, **account.bad}.items() if count)
            raise DataError(f"data.source: {nothing}, only {found or 'nothing'}; {looked}")
        for what, count in account.noticed.items():
            logger.warning("data.source: %s: %d files, read as what they hold", what, count)
        if account.bad:
            logger.warning("left out: %s%s", account.summary(), f", listed in {self.listing()}" if self.on_bad == "quarantine" else "")
