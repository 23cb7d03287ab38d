"""Cells: the sessions of a cell become {cell}/cell.json, its verdict.

Steps: read every transcript, logprobs file and forced pass of the cell, compare them, write the figures.
"""


localrules:
    summarise_cell,


rule summarise_cell:
    """What a cell's sessions show: how much agrees, where the first difference is, how often it flips."""
    input:
        sessions=first(4, session_files),
        # A job found out round by round heeds no change of its parameters, but that its input is newer.
        looks=first(4, look_files),
        forced=first(4, PLAN.forced),
    output:
        report(
            "results/cells/{model}/{precision}/{engine}/{variant}/cell.json",
            caption="captions/cell.rst",
            category="Cells",
            subcategory="{model}",
            labels={
                "precision": "{precision}",
                "engine": "{engine}",
                "variant": "{variant}",
            },
        ),
    log:
        "results/logs/cells/{model}/{precision}/{engine}/{variant}.log",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("summarise_cell"),
        cell="results/cells/{model}/{precision}/{engine}/{variant}",
        first_block=CONFIG.first_block,
        tie_margin=CONFIG.tie_margin,
        question=lambda wildcards, input: PLAN.question(
            *wildcards[:4], sessions=len(input.sessions)
        ),
    message:
        "Summarise {wildcards.model} {wildcards.precision} on {wildcards.engine}, {wildcards.variant}."
    shell:
        "python -m scripts.summarise_cell {params.cell} --output {output}"
        " --first-block {params.first_block} --tie-margin {params.tie_margin} {params.question} 2>&1 | tee -i {log} >&2"
