"""Cells: the sessions of a cell become {cell}/cell.json, its verdict.

Steps: read every transcript, logprobs file and forced pass of the cell, compare them, write the figures.
"""


rule summarise_cell:
    """What a cell's sessions show: how much agrees, where the first difference is, how often it flips."""
    input:
        sessions=lambda wildcards: session_files(cell_of(wildcards)),
        # A job found out round by round heeds no change of its parameters, but that its input is newer.
        looks=lambda wildcards: look_files(cell_of(wildcards)),
        forced=lambda wildcards: forced_file(cell_of(wildcards)),
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
        cell=lambda wildcards: cell_of(wildcards).folder,
        first_block=CONFIGURATION.config["first_block"],
        tie_margin=CONFIGURATION.config["tie_margin"],
        question=lambda wildcards, input: asked(cell_of(wildcards))
        and f"{asked(cell_of(wildcards))} --sessions {len(input.sessions)}",
    message:
        "Summarise {wildcards.model} {wildcards.precision} on {wildcards.engine}, {wildcards.variant}."
    shell:
        "python -m scripts.summarise_cell {params.cell} --output {output}"
        " --first-block {params.first_block} --tie-margin {params.tie_margin} {params.question} 2>&1 | tee -i {log} >&2"
