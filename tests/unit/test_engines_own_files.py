"""What of this code is mounted into vLLM's containers: all that it comes to import there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.engines.container_plan import OWN_FILES


def test_the_mounted_files_name_every_module_of_ours_that_they_import(root: Path, tmp_path: Path) -> None:
    for file in OWN_FILES:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / file, tmp_path / file)
    lines = [
        line for file in OWN_FILES for line in (root / file).read_text().splitlines() if "import" in line
    ]
    modules = {
        line.split()[1] for line in lines if line.strip().startswith(("from scripts", "import scripts"))
    }
    assert modules, "vllm_force imports the patches"
    code = "import importlib.util, sys\nfor name in sys.argv[1:]: assert importlib.util.find_spec(name), name"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, *sorted(modules)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
