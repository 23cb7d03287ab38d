"""Archive: everything that the grid's table follows from becomes results/provenance.zip, which can check itself.

Steps: check every session's and forced replay's record against what lies beside it, describe all of it as a Workflow
Run RO-Crate, pack it with the code. `python -m scripts.verify_archive results/provenance.zip` judges it again.
"""


localrules:
    archive,


rule archive:
    """The archive of the grid: results, how they came about, and the code that judges them; no weights."""
    input:
        table=TABLE,
        controls=CONTROLS,
        ablations=PAGES,
        report=REPORT,
        grid=GRID,
        cells=PLAN.summaries(PLAN.shown),
        sessions=PLAN.session_records(PLAN.shown),
        fed=PLAN.fed(PLAN.shown),
        forced=[file for cell in PLAN.shown for file in PLAN.forced(*cell.names)],
        engines=sorted({engine_file(cell.engine) for cell in PLAN.shown}),
        manifests=[manifest(quant, is_gone(*quant)) for quant in PLAN.manifests()],
    output:
        "results/provenance.zip",
    log:
        "results/logs/archive.log",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=first(0, PLAN.archived_code),
    message:
        "Archive the grid."
    shell:
        "python -m scripts.write_archive --output {output} 2>&1 | tee -i {log} >&2"
