"""What a driver has started ends with it, and nothing else does."""

import subprocess
import sys
import time

from harness.watchdog import watched

SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")


def test_what_was_begun_within_is_ended_and_what_was_there_before_is_not():
    before = subprocess.Popen(SLEEP)
    time.sleep(0.1)
    try:
        with watched():
            within = subprocess.Popen(SLEEP)
            time.sleep(1.5)  # two looks
        assert within.poll() is not None
        assert before.poll() is None
    finally:
        before.kill()
        before.wait()
        within.kill()
        within.wait()
