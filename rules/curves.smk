"""Curves: the sessions of a sweep become {cell}/sweeps/{sweep}/session-{session}/sweep.json and results/curves/{sweep}.md.

Steps: one job a session, which starts the engine, looks along the axis, bisects where bits stop being equal, and stops
the engine; then the page with the thresholds in words, and its figure. The table does not wait for either.
"""

SWEEP = "results/cells/{model}/{precision}/{engine}/{variant}/sweeps/{sweep}/session-{session}/sweep.json"
SWEEP_JOB = (*PARTS, "sweep", "session")
CURVES = PLAN.curve_files


wildcard_constraints:
    sweep=one_of(PLAN.curves),


localrules:
    make_curve,


if not PLAN.partial:

    rule sweep_cell:
        """One session of a sweep: the life of one engine process, all its passes along the axis in it."""
        input:
            manifest=weights(SWEEP, "sweep_cell", SWEEP_JOB),
            engine="results/engines/{engine}.json",
            workload=first(4, PLAN.workload),
            workspace=first(4, PLAN.workspace),
        output:
            SWEEP,
        log:
            sweep="results/logs/sessions/{model}/{precision}/{engine}/{variant}/sweep-{sweep}-{session}.log",
            engine="results/logs/sessions/{model}/{precision}/{engine}/{variant}/sweep-{sweep}-{session}.engine.log",
        priority: first(4, PLAN.force_priority)
        conda:
            "../envs/workflow.yaml"
        threads: PLAN.session_cores
        resources:
            **PLAN.session_resources,
            **needs(4, PLAN.sweep_needs),
        params:
            code=first(4, PLAN.sweep_code),
            python=first(4, PLAN.python),
            arguments=first(4, PLAN.sweep_arguments),
        message:
            "Sweep {wildcards.sweep}, session {wildcards.session}, of {wildcards.model} {wildcards.precision} on"
            " {wildcards.engine}, {wildcards.variant}."
        shell:
            "{params.python} -m scripts.sweep_cell {params.arguments} --session {wildcards.session}"
            " --workload {input.workload:q} --manifest {input.manifest} --engine-record {input.engine}"
            " --engine-log {log.engine} --output {output} 2>&1 | tee -i {log.sweep} >&2"


rule make_curve:
    """The page of a sweep: where along the axis bits stop being equal, with a figure."""
    input:
        lambda wildcards: PLAN.swept(wildcards.sweep),
    output:
        md="results/curves/{sweep}.md",
        svg="results/curves/{sweep}.svg",
    log:
        "results/logs/curves/{sweep}.log",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("make_curve"),
    message:
        "Make the curve {wildcards.sweep}."
    shell:
        "python -m scripts.make_curve {input} --output {output.md} 2>&1 | tee -i {log} >&2"
