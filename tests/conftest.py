"""Helper modules of the tests are imported by name. Tests run side by side, so torch takes one thread of each."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")
