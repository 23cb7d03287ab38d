"""Sessions: manifest, engine record and workload become {cell}/session-{session}/, all replays of one engine process.

Steps: one job a session, which starts the engine, replays the workload, stops the engine and writes session.json last.
Never retried: a retry would hide what is being measured.
"""


rule run_session:
    """One session of a cell: the life of one engine process, all its replays in it."""
    input:
        manifest="results/quants/{model}/{precision}/manifest.json",
        engine="results/engines/{engine}.json",
        workload=CONFIGURATION.workload_files[0],
        workspace=CONFIGURATION.workload_files[1:],
    output:
        "results/cells/{model}/{precision}/{engine}/{variant}/session-{session}/session.json",
    log:
        session="results/logs/sessions/{model}/{precision}/{engine}/{variant}/session-{session}.log",
        engine="results/logs/sessions/{model}/{precision}/{engine}/{variant}/session-{session}.engine.log",
    conda:
        "../envs/workflow.yaml"
    threads: CORES
    resources:
        gpu=GPU,
    params:
        code=lambda wildcards: session_digest(wildcards.engine),
        python=lambda wildcards: engine_python(wildcards.engine),
        arguments=lambda wildcards: SESSION_ARGUMENTS[tuple(wildcards[:4])],
    message:
        "Session {wildcards.session} of {wildcards.model} {wildcards.precision} on {wildcards.engine},"
        " {wildcards.variant}."
    shell:
        "{params.python} -m scripts.run_session {params.arguments} --session {wildcards.session}"
        " --workload {input.workload} --manifest {input.manifest} --engine-record {input.engine}"
        " --engine-log {log.engine} --output {output} 2>&1 | tee -i {log.session} >&2"
