"""Luthier as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def luthier(home: Path | str, *arguments: str) -> dict[str, Any]:
    """The document of a verb, in a home of its own. Ends the program with its message where the verb fails."""
    command = [str(Path(sys.executable).with_name("luthier")), *arguments, "--json"]
    environment = os.environ | {"LUTHIER_HOME": str(home)}
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if out.returncode:
        sys.exit(out.stderr[-2000:])
    return json.loads(out.stdout)
