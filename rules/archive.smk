"""Archive: everything that the grid's table follows from becomes results/provenance.zip, which can check itself.

Steps: check every session's and forced replay's record against what lies beside it, describe all of it as a Workflow
Run RO-Crate, pack it with the code. `python -m scripts.verify_archive results/provenance.zip` judges it again.
"""

ARCHIVED = [cell for cell in CELLS.values() if has_sessions(cell)]


localrules:
    archive,


rule archive:
    """The archive of the grid: results, how they came about, and the code that judges them; no weights."""
    input:
        table=TABLE,
        controls=CONTROLS,
        ablations=sorted({each.file for each in ABLATIONS}),
        report=REPORT,
        grid=GRID,
        cells=[f"{cell.folder}/cell.json" for cell in ARCHIVED],
        sessions=[
            file
            for cell in ARCHIVED
            if not cell.question
            for file in session_files(cell)
        ],
        forced=[forced_file(cell) for cell in ARCHIVED if forced_file(cell)],
        engines=sorted({f"results/engines/{cell.engine}.json" for cell in ARCHIVED}),
        manifests=sorted(
            {
                f"results/quants/{cell.model}/{cell.precision}/manifest.json"
                for cell in ARCHIVED
            }
        ),
    output:
        "results/provenance.zip",
    log:
        "results/logs/archive.log",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=lambda wildcards: archived_code(),
    message:
        "Archive the grid."
    shell:
        "python -m scripts.write_archive --output {output} 2>&1 | tee -i {log} >&2"
