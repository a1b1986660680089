"""Isogloss: form and meaning inside multilingual language models, and what steering does to them.

The modules are layered: each imports only from those below it (`tests/test_house.py` holds the floors).
"""

import os
from pathlib import Path

__version__ = "0.1.0"

HOUSE = Path(__file__).resolve().parents[1]  # holds the package, and the notebooks unless ROOT has its own
ROOT = Path(os.environ.get("ISOGLOSS_HOME") or HOUSE)
DATA = ROOT / "data"  # sources/ (downloads), cache/ (models, arrays), results/ (one folder per run)
FIGURES = ROOT / "figures"
