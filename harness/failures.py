"""What a run that failed leaves and says: in words on the screen, in full in its log."""

from __future__ import annotations

import contextlib
import traceback

from harness.files import write_json
from harness.record import RunFolder
from harness.settings import Outcome, Settings
from harness.signs import utc
from protocols.errors import ReIDError


def leave_failure(folder: RunFolder, outcome: Outcome, settings: Settings) -> None:
    """Leave beside a run why it failed and how to try again."""
    note = {
        "title": outcome.title,
        "error": "\n".join(outcome.failures),
        "log": str(folder.log),
        "command": settings.command,
        "at": utc(),
    }
    with contextlib.suppress(ReIDError, OSError):  # a full disk has been told of already
        write_json(folder.failed, note)


def could_not_begin(outcome: Outcome, error: Exception, settings: Settings) -> None:
    """Note the failure of a run of which nothing was done: no lease, no data."""
    folder = RunFolder(settings.out, outcome.run_id)
    outcome.failures.append(told(outcome.title, error, folder))
    leave_failure(folder, outcome, settings)


def told(title: str, error: Exception, folder: RunFolder) -> str:
    """A failure in words; the traceback of a bug goes into the run's log."""
    if isinstance(error, ReIDError):
        return f"{title}: {error}"
    # a bug: the whole traceback belongs in a file, its last line on the screen
    said = f"{title}: {type(error).__name__}: {error}"
    try:
        with folder.log.open("a", encoding="utf-8") as log:
            log.write("".join(traceback.format_exception(error)))
    except OSError:
        return said
    return f"{said} (a bug; the traceback is in {folder.log})"
