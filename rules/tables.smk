"""Tables: results/grid.json and every cell.json of the grid become results/table.md and results/table.csv.

Steps: record the grid, make the table, check its controls, publish it. A control that reads otherwise than it must
fails the check; the table, with a banner that says so, is published all the same, since its readings are worth keeping,
and what each control read is in results/controls.failed.json.
Beside it, a page of ablations for each deployment that the grid wants them of, and a page for each cell that others are
set beside; the table does not wait for these.
"""

UNCHECKED = ["results/unchecked/table.md", "results/unchecked/table.csv"]

COMPARE_PAGE = "results/compare/{page}.md"

# Pages in Markdown beside the table; the report shows each as a section.
PAGES = sorted({each.file for each in PLAN.ablations} | {*PLAN.compared})


localrules:
    write_grid,
    make_table,
    check_controls,
    table,
    ablate,
    make_compare,
    check,


rule write_grid:
    """The grid that is made: the merged configuration, its cells and controls."""
    input:
        config=PLAN.configuration.files,
        workload=[
            file for files in PLAN.configuration.workloads.values() for file in files
        ],
    output:
        GRID,
    log:
        "results/logs/grid.log",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("write_grid", tuple(DRIVERS.values())),
        grid=PLAN.configuration.grid_name,
        why=PLAN.configuration.why,
        settings=PLAN.grid_settings,
        never_rehearsed=PLAN.never_rehearsed,
    message:
        "Record the grid {params.grid}."
    shell:
        "python -m scripts.write_grid --grid {params.grid} --why {params.why:q} {params.settings:q}"
        " --output {output} 2>&1 | tee -i {log} >&2"


rule make_table:
    """The table of the grid's cells, with a banner where a control reads otherwise than it must."""
    input:
        cells=PLAN.summaries(PLAN.shown),
        fed=PLAN.fed(PLAN.shown),
        grid=GRID,
        evicted=[evicted_file(*quant) for quant in PLAN.evictable],
    output:
        md=UNCHECKED[0],
        csv=UNCHECKED[1],
    log:
        "results/logs/table.log",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("make_table"),
    message:
        "Make the table."
    shell:
        "python -m scripts.make_table --grid {input.grid} --results results"
        " --output {output.md} --csv {output.csv} 2>&1 | tee -i {log} >&2"


rule check_controls:
    """Whether every control reads as it must; where one does not, the table is published and the check fails."""
    input:
        md=UNCHECKED[0],
        csv=UNCHECKED[1],
        grid=GRID,
    output:
        report(CONTROLS, caption="captions/controls.rst", category="Table"),
    log:
        "results/logs/controls.log",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("check_controls"),
        failed=FAILED_CONTROLS,
    message:
        "Check the controls."
    shell:
        "rm -f {params.failed};"
        " python -m scripts.check_controls --grid {input.grid} --results results --table {input.md}"
        " --output {output} 2>&1 | tee -i {log} >&2"
        # The output of a job that fails is deleted.
        " || {{ if [ -e {output} ]; then mv {output} {params.failed}; fi; cp {input.md} {input.csv} results/"
        # Older than what it is made from, so that the next command looks at the controls again.
        " && touch -r {input.grid} results/table.md results/table.csv; exit 1; }}"


rule table:
    """The table whose controls were checked."""
    input:
        table=UNCHECKED,
        controls=CONTROLS,
    output:
        [report(file, caption="captions/table.rst", category="Table") for file in TABLE],
    log:
        "results/logs/published.log",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    message:
        "Publish the table."
    shell:
        "cp {input.table} results/ 2> {log}"


rule ablate:
    """The causes: what each change of a deployment's settings does to its bits."""
    input:
        cells=first(3, PLAN.ablated),
        grid=GRID,
    output:
        report(
            "results/ablation/{model}-{precision}-{engine}.md",
            caption="captions/ablation.rst",
            category="Causes",
            subcategory="{model} {precision}",
            labels={"engine": "{engine}"},
        ),
    log:
        "results/logs/ablation/{model}-{precision}-{engine}.log",
    wildcard_constraints:
        model=one_of(each.model for each in PLAN.ablations),
        precision=one_of(each.precision for each in PLAN.ablations),
        engine=one_of(each.engine for each in PLAN.ablations),
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("make_ablation"),
    message:
        "Compare the changes of {wildcards.model} {wildcards.precision} on {wildcards.engine}."
    shell:
        "python -m scripts.make_ablation --grid {input.grid} --results results --model {wildcards.model}"
        " --precision {wildcards.precision} --engine {wildcards.engine} --output {output} 2>&1 | tee -i {log} >&2"


rule make_compare:
    """A cell beside others: same bits or not, where they part, how far apart they are, what differs in what they are."""
    input:
        cells=lambda wildcards: PLAN.summaries(
            PLAN.compared[COMPARE_PAGE.format(**wildcards)]
        ),
        fed=lambda wildcards: PLAN.fed(PLAN.compared[COMPARE_PAGE.format(**wildcards)]),
        grid=GRID,
    output:
        report(
            COMPARE_PAGE,
            caption="captions/compare.rst",
            category="Side by side",
            labels={"A": "{page}"},
        ),
    log:
        "results/logs/compare/{page}.log",
    wildcard_constraints:
        page=one_of(Path(each).stem for each in PLAN.compared),
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("make_compare"),
    message:
        "Set cells beside {wildcards.page}."
    shell:
        "python -m scripts.make_compare --grid {input.grid} --results results --output {output} 2>&1 | tee -i {log} >&2"


rule check:
    """Whether the grid's cells are the baseline's: results/check.json and check.xml (JUnit); a change fails the command."""
    input:
        cells=PLAN.summaries(PLAN.shown),
        baseline=PLAN.baseline,
        grid=GRID,
    log:
        "results/logs/check.log",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("check"),
    message:
        "Check the cells against {input.baseline}."
    # No outputs: those of a job that fails are deleted, and a change has to be read.
    shell:
        "python -m scripts.check {input.baseline:q} results --grid {input.grid} --output results/check.json"
        " --junit results/check.xml --lenient 2>&1 | tee -i {log} >&2"
