"""Write the JSON Schemas of the files that the workflow writes (scripts/records/schema/), from their records."""

from __future__ import annotations

from scripts.records.json_schema import FILES, FOLDER, render


def main() -> None:
    """Write one file a record."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, kind in FILES.items():
        (FOLDER / f"{name}.schema.json").write_text(render(kind), encoding="utf-8")


if __name__ == "__main__":
    main()
