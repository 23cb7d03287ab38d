"""A machine with GPUs, as far as this project sees one: an `nvidia-smi` on PATH that names them."""

from __future__ import annotations

import sys
from pathlib import Path

SMI = """#!{python} -S
import sys
gpus = {gpus!r}
asked = [each for each in sys.argv[1:] if each.startswith("--query-gpu=")]
if asked:
    for gpu in gpus:
        print(", ".join(gpu[field] for field in asked[0].partition("=")[2].split(",")))
elif "-L" in sys.argv:
    for gpu in gpus:
        print("GPU {{index}}: {{name}} (UUID: {{uuid}})".format(**gpu))
        for number, part in enumerate(gpu["mig"].split()):
            print(f"  MIG 1g.10gb     Device  {{number}}: (UUID: {{part}})")
else:
    print("| NVIDIA-SMI 580.82.07   Driver Version: 580.82.07   CUDA Version: 13.0  |")
"""


def uuid(number: int) -> str:
    """The UUID of a GPU."""
    return f"GPU-{number}{number:07x}-dead-beef"


def write_nvidia_smi(
    folder: Path, *mib: int, name: str = "NVIDIA H100", mig: dict[int, str] | None = None
) -> Path:
    """The program, in `folder`, of a machine whose GPUs have so many MiB; of some `mig` names the parts."""
    gpus = [
        {
            "index": str(number),
            "name": name,
            "memory.total": str(each),
            "uuid": uuid(number),
            "driver_version": "580.82.07",
            "mig": (mig or {}).get(number, ""),
        }
        for number, each in enumerate(mib)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    tool = folder / "nvidia-smi"
    tool.write_text(SMI.format(python=sys.executable, gpus=gpus))
    tool.chmod(0o755)
    return tool
