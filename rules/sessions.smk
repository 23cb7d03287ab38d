"""Sessions: manifest, engine record and workload become {cell}/session-{session}/, all replays of one engine process,
and the first session's first trajectory becomes {cell}/forced/, fed back to a fresh engine.

Steps: one job a session, which starts the engine, replays the workload, stops the engine and writes session.json last.
Never retried: a retry would hide what is being measured. Where a cell has a question in place of a number of sessions,
a look after each one decides whether there is another.
"""

SESSION = "results/cells/{model}/{precision}/{engine}/{variant}/session-{session}/session.json"
FORCED = "results/cells/{model}/{precision}/{engine}/{variant}/forced.json"
FED = "results/cells/{model}/{precision}/{engine}/{variant}/fed/{source}/forced.json"


localrules:
    ask_cell,


rule run_session:
    """One session of a cell: the life of one engine process, all its replays in it."""
    input:
        manifest=weights(SESSION, "run_session"),
        engine="results/engines/{engine}.json",
        workload=first(4, PLAN.workload),
        workspace=first(4, PLAN.workspace),
    output:
        SESSION,
    log:
        session="results/logs/sessions/{model}/{precision}/{engine}/{variant}/session-{session}.log",
        engine="results/logs/sessions/{model}/{precision}/{engine}/{variant}/session-{session}.engine.log",
    priority: first(5, PLAN.session_priority)
    conda:
        "../envs/workflow.yaml"
    threads: PLAN.session_cores
    resources:
        **PLAN.session_resources,
        **needs(4, PLAN.session_needs),
    params:
        code=first(4, PLAN.session_code),
        python=first(4, PLAN.python),
        arguments=first(4, PLAN.session_arguments),
    message:
        "Session {wildcards.session} of {wildcards.model} {wildcards.precision} on {wildcards.engine},"
        " {wildcards.variant}."
    shell:
        "{params.python} -m scripts.run_session {params.arguments} --session {wildcards.session}"
        " --workload {input.workload:q} --manifest {input.manifest} --engine-record {input.engine}"
        " --engine-log {log.engine} --output {output} 2>&1 | tee -i {log.session} >&2"


checkpoint ask_cell:
    """Whether the sessions so far answer a cell's question, or another one is needed."""
    input:
        first(5, PLAN.sessions_to),
    output:
        "results/cells/{model}/{precision}/{engine}/{variant}/question/round-{session}.json",
    log:
        "results/logs/cells/{model}/{precision}/{engine}/{variant}.round-{session}.log",
    priority: ROUNDS[1]
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("ask_cell"),
        cell="results/cells/{model}/{precision}/{engine}/{variant}",
        question=first(5, PLAN.question_after),
    message:
        "Ask {wildcards.model} {wildcards.precision} on {wildcards.engine}, {wildcards.variant}."
    shell:
        "python -m scripts.ask_cell {params.cell} {params.question}"
        " --output {output} 2>&1 | tee -i {log} >&2"


rule force_cell:
    """A recorded trajectory fed back to a fresh engine several times, every position compared bit by bit."""
    input:
        manifest=weights(FORCED, "force_cell"),
        engine="results/engines/{engine}.json",
        session="results/cells/{model}/{precision}/{engine}/{variant}/session-00/session.json",
    output:
        FORCED,
    log:
        forced="results/logs/sessions/{model}/{precision}/{engine}/{variant}/forced.log",
        engine="results/logs/sessions/{model}/{precision}/{engine}/{variant}/forced.engine.log",
    priority: first(4, PLAN.force_priority)
    conda:
        "../envs/workflow.yaml"
    threads: PLAN.session_cores
    resources:
        **PLAN.session_resources,
        **needs(4, PLAN.forced_needs),
    params:
        code=first(4, PLAN.force_code),
        python=first(4, PLAN.python),
        arguments=first(4, PLAN.force_arguments),
    message:
        "Force {wildcards.model} {wildcards.precision} on {wildcards.engine}, {wildcards.variant}."
    shell:
        "{params.python} -m scripts.force_cell {params.arguments}"
        " --manifest {input.manifest} --engine-record {input.engine} --engine-log {log.engine} --output {output}"
        " 2>&1 | tee -i {log.forced} >&2"


rule feed_cell:
    """The trajectory of another cell fed to a fresh engine once: what it computes there is compared with what that one did."""
    input:
        manifest=weights(FED, "feed_cell", (*PARTS, "source")),
        engine="results/engines/{engine}.json",
        trajectory=lambda wildcards: PLAN.fed_trajectory(wildcards.source),
    output:
        FED,
    log:
        forced="results/logs/sessions/{model}/{precision}/{engine}/{variant}/fed-{source}.log",
        engine="results/logs/sessions/{model}/{precision}/{engine}/{variant}/fed-{source}.engine.log",
    wildcard_constraints:
        source=PLAN.fed_names,
    priority: first(4, PLAN.force_priority)
    conda:
        "../envs/workflow.yaml"
    threads: PLAN.session_cores
    resources:
        **PLAN.session_resources,
        **needs(4, PLAN.feed_needs),
    params:
        code=first(4, PLAN.force_code),
        python=first(4, PLAN.python),
        arguments=first(5, PLAN.feed_arguments),
    message:
        "Feed {wildcards.source} to {wildcards.model} {wildcards.precision} on {wildcards.engine}, {wildcards.variant}."
    shell:
        "{params.python} -m scripts.force_cell {params.arguments}"
        " --manifest {input.manifest} --engine-record {input.engine} --engine-log {log.engine}"
        " --trajectory {input.trajectory} --output {output}"
        " 2>&1 | tee -i {log.forced} >&2"
