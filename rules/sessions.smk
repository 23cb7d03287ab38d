"""Sessions: manifest, engine record and workload become {cell}/session-{session}/, all replays of one engine process,
and the first session's first trajectory becomes {cell}/forced/, fed back to a fresh engine.

Steps: one job a session, which starts the engine, replays the workload, stops the engine and writes session.json last.
Never retried: a retry would hide what is being measured. Where a cell has a question in place of a number of sessions,
a look after each one decides whether there is another.
"""

SESSION = "results/cells/{model}/{precision}/{engine}/{variant}/session-{session}/session.json"
FORCED = "results/cells/{model}/{precision}/{engine}/{variant}/forced.json"


rule run_session:
    """One session of a cell: the life of one engine process, all its replays in it."""
    input:
        manifest=weights_for(SESSION, "run_session"),
        engine="results/engines/{engine}.json",
        workload=lambda wildcards: workload_files(wildcards)[0],
        workspace=lambda wildcards: workload_files(wildcards)[1:],
    output:
        SESSION,
    log:
        session="results/logs/sessions/{model}/{precision}/{engine}/{variant}/session-{session}.log",
        engine="results/logs/sessions/{model}/{precision}/{engine}/{variant}/session-{session}.engine.log",
    priority: 1
    conda:
        "../envs/workflow.yaml"
    threads: CORES
    resources:
        gpu=GPU,
        gpu_gb=taken_gpu_memory if GPU else 0,
    params:
        code=lambda wildcards: session_digest(wildcards.engine),
        python=lambda wildcards: engine_python(wildcards.engine),
        arguments=lambda wildcards: SETTINGS[tuple(wildcards[:4])],
        replays=lambda wildcards: cell_of(wildcards).replays,
    message:
        "Session {wildcards.session} of {wildcards.model} {wildcards.precision} on {wildcards.engine},"
        " {wildcards.variant}."
    shell:
        "{params.python} -m scripts.run_session {params.arguments} --replays {params.replays} --session {wildcards.session}"
        " --workload {input.workload} --manifest {input.manifest} --engine-record {input.engine}"
        " --engine-log {log.engine} --output {output} 2>&1 | tee -i {log.session} >&2"


checkpoint ask_cell:
    """Whether the sessions so far answer a cell's question, or another one is needed."""
    input:
        lambda wildcards: cell_of(wildcards).session_files[: int(wildcards.session) + 1],
    output:
        "results/cells/{model}/{precision}/{engine}/{variant}/question/round-{session}.json",
    log:
        "results/logs/cells/{model}/{precision}/{engine}/{variant}.round-{session}.log",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("ask_cell"),
        cell=lambda wildcards: cell_of(wildcards).folder,
        question=lambda wildcards: asked(cell_of(wildcards)),
        sessions=lambda wildcards: int(wildcards.session) + 1,
    message:
        "Ask {wildcards.model} {wildcards.precision} on {wildcards.engine}, {wildcards.variant}."
    shell:
        "python -m scripts.ask_cell {params.cell} --sessions {params.sessions} {params.question}"
        " --output {output} 2>&1 | tee -i {log} >&2"


rule force_cell:
    """A recorded trajectory fed back to a fresh engine several times, every position compared bit by bit."""
    input:
        manifest=weights_for(FORCED, "force_cell"),
        engine="results/engines/{engine}.json",
        session="results/cells/{model}/{precision}/{engine}/{variant}/session-00/session.json",
    output:
        FORCED,
    log:
        forced="results/logs/sessions/{model}/{precision}/{engine}/{variant}/forced.log",
        engine="results/logs/sessions/{model}/{precision}/{engine}/{variant}/forced.engine.log",
    priority: 1
    conda:
        "../envs/workflow.yaml"
    threads: CORES
    resources:
        gpu=GPU,
        gpu_gb=taken_gpu_memory if GPU else 0,
    params:
        code=lambda wildcards: force_digest(wildcards.engine),
        python=lambda wildcards: engine_python(wildcards.engine),
        arguments=lambda wildcards: SETTINGS[tuple(wildcards[:4])],
        passes=lambda wildcards: " ".join(
            f"--{mode}-passes {count}"
            for mode, count in cell_of(wildcards).forced.items()
        ),
    message:
        "Force {wildcards.model} {wildcards.precision} on {wildcards.engine}, {wildcards.variant}."
    shell:
        "{params.python} -m scripts.force_cell {params.arguments} {params.passes}"
        " --manifest {input.manifest} --engine-record {input.engine} --engine-log {log.engine} --output {output}"
        " 2>&1 | tee -i {log.forced} >&2"
