"""MLflow as a guest: it says nothing, reports nothing, and gives up soon."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator

ENVIRONMENT = {
    # a server that is away would hold every call for minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Set while MLflow is at work, unless the user has set them to something else."""
LOUD = ("mlflow", "alembic", "urllib3.connectionpool")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """MLflow without its logs, warnings, links and reports home, and quick to give up."""
    added = {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    loggers = [logging.getLogger(name) for name in LOUD]
    levels = [logger.level for logger in loggers]
    os.environ.update(added)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
    finally:
        for name in added:
            os.environ.pop(name, None)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
