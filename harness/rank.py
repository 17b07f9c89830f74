"""A further process of one run: trains along with rank 0 (`harness.parallel`), leaves nothing."""

from __future__ import annotations

import sys

from harness.environment import threads
from harness.parallel import die_with_parent, join
from harness.prepare import run_threads, training
from harness.progress import Progress
from harness.record import RunFolder
from harness.train import make_accelerator, train
from harness.worker import Ticket


def main() -> None:
    """Read a ticket from standard input and train what it says."""
    die_with_parent()
    ticket = Ticket.model_validate_json(sys.stdin.read())
    planned, catalog = ticket.open()
    settings = ticket.settings
    with threads(run_threads(planned.spec, settings.threads)), join():
        accelerator = make_accelerator(planned.spec.precision, settings.device)
        method, data = training(planned, catalog, settings, accelerator.device)
        folder = RunFolder(settings.out, planned.spec.id).checkpoints
        train(method, data, accelerator, folder, Progress())


if __name__ == "__main__":
    main()
