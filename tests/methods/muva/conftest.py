"""Lets the tests of this folder import the reference and the small models beside them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
