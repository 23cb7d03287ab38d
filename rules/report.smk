"""Report: the grid's table and what is behind it become results/report.html, one page that opens from disk.

Steps: read every cell's replays again, draw how they agree with their reference, set the texts side by side where they
part, and put it all with the pages of causes into one file, and with the side tables that are there. Controls that
read otherwise put their banner on it too.
"""

REPORT = "results/report.html"


localrules:
    report,
    verdict,


rule report:
    """The page report.html: the table, sortable, each cell's replays as a picture, and where its figures come from."""
    input:
        cells=PLAN.summaries(PLAN.shown),
        sessions=PLAN.session_records(PLAN.shown),
        fed=PLAN.fed(PLAN.shown),
        manifests=[manifest(quant, is_gone(*quant)) for quant in PLAN.manifests()],
        pages=[
            *PAGES,
            *(file for file in [*PLAN.side, *CURVES] if Path(file).is_file()),
        ],
        grid=GRID,
    output:
        report(REPORT, caption="captions/report.rst", category="Report"),
    log:
        "results/logs/report.log",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("make_report"),
        web=content_digest(sorted(Path("scripts/report/web").glob("page.*"))),
        pages=lambda wildcards, input: " ".join(
            f"--page {page}" for page in input.pages
        ),
    message:
        "Make the report."
    shell:
        "python -m scripts.make_report --grid {input.grid} --results results {params.pages} --output {output}"
        " 2>&1 | tee -i {log} >&2"


rule verdict:
    """What each cell reads, in a few lines on the terminal; no file."""
    input:
        TABLE,
        REPORT,
        cells=PLAN.summaries(PLAN.shown),
        grid=GRID,
    log:
        "results/logs/verdict.log",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("show_verdict"),
    message:
        "Say what was found."
    shell:
        "python -m scripts.show_verdict --grid {input.grid} --results results 2>&1 | tee -i {log} >&2"
