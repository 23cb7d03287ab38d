"""Side tables: cells of the grid become results/leak.md, results/near-ties.md, results/reap.md, results/speed.md and
results/warm.md, each by one command.

Steps: read the cells' summaries and what their sessions wrote, compare, say beside each table what it cannot say. None
is part of the grid's table or of the default target.
"""


localrules:
    make_leak,
    make_near_ties,
    make_reap,
    make_speed,
    make_warm,


rule make_leak:
    """What a leaky harness does to the same cells, and which bytes of which tool leaked first."""
    input:
        cells=PLAN.summaries(PLAN.side.get(LEAK, [])),
        grid=GRID,
    output:
        LEAK,
    log:
        "results/logs/leak.log",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("make_leak"),
    message:
        "Compare the leaky harness with the clean one."
    shell:
        "python -m scripts.make_leak --grid {input.grid} --results results --output {output} 2>&1 | tee -i {log} >&2"


rule make_near_ties:
    """The chance of a flip against the margin, what it foretells, and what a flip costs, with a figure."""
    input:
        cells=PLAN.summaries(PLAN.side.get(NEAR_TIES, [])),
        grid=GRID,
    output:
        page=NEAR_TIES,
        figure=NEAR_TIES.replace(".md", ".svg"),
    log:
        "results/logs/near-ties.log",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("make_near_ties"),
    message:
        "Look at flips and margins."
    shell:
        "python -m scripts.make_near_ties --grid {input.grid} --results results --output {output.page}"
        " 2>&1 | tee -i {log} >&2"


rule make_reap:
    """Pruned experts at more bits against all experts at fewer, paired by question."""
    input:
        cells=PLAN.summaries(PLAN.side.get(REAP, [])),
        grid=GRID,
    output:
        REAP,
    log:
        "results/logs/reap.log",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("make_reap"),
    message:
        "Compare pruned experts with all of them."
    shell:
        "python -m scripts.make_reap --grid {input.grid} --results results --workloads config/workloads"
        " --output {output} 2>&1 | tee -i {log} >&2"


rule make_speed:
    """Tokens a second by kind of input, with and without multi-token prediction, and each setting's price."""
    input:
        cells=PLAN.summaries(PLAN.side.get(SPEED, [])),
        grid=GRID,
    output:
        SPEED,
    log:
        "results/logs/speed.log",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("make_speed"),
    message:
        "Make the table of speeds."
    shell:
        "python -m scripts.make_speed --grid {input.grid} --results results --output {output} 2>&1 | tee -i {log} >&2"


rule make_warm:
    """Cold against warm prefix cache: first answers, repeats, and the cells without a cache, by the engine's count."""
    input:
        cells=PLAN.summaries(PLAN.side.get(WARM, [])),
        grid=GRID,
    output:
        WARM,
    log:
        "results/logs/warm.log",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("make_warm"),
    message:
        "Compare cold with warm answers."
    shell:
        "python -m scripts.make_warm --grid {input.grid} --results results --output {output} 2>&1 | tee -i {log} >&2"
