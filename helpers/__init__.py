"""Isogloss: form and meaning inside multilingual language models, and what steering does to them.

The modules are layered: each imports only from those below it (`tests/test_house.py` holds the floors).
"""

import os
from pathlib import Path

__version__ = "0.1.0"

ROOT = Path(os.environ.get("ISOGLOSS_HOME") or Path(__file__).resolve().parents[1])
DATA = ROOT / "data"  # sources/ (downloads), cache/ (models, arrays), results/ (one folder per run)
FIGURES = ROOT / "figures"
