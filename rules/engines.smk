"""Engines: config/engines.yaml becomes a locked environment or an image, and results/engines/{engine}.json.

Steps: create the environment (once; it stays in .envs/) or pull or build the image, record what it is. Where a cluster
runs the jobs, the environment is made by the machine that hands them out, which reaches the network; images are had by
the machines that have Docker.
"""


localrules:
    create_env,
    find_endpoint,


rule create_env:
    """The locked environment of an engine that runs as a process, and its record."""
    input:
        lock=first(1, PLAN.engine_sources),
    output:
        "results/engines/{engine}.json",
    log:
        "results/logs/engines/{engine}.log",
    wildcard_constraints:
        engine=PLAN.engines_with(lambda entry: entry.lock),
    priority: ROUNDS[0]
    conda:
        "../envs/workflow.yaml"
    threads: 1
    resources:
        needs_gb=first(1, PLAN.engine_gpu_memory),
    params:
        code=source_digest("create_env"),
        entry=first(1, PLAN.engine_entry),
    message:
        "Set up the engine {wildcards.engine}."
    shell:
        "python -m scripts.create_env {wildcards.engine} --needs-gb {resources.needs_gb} --output {output}"
        " 2>&1 | tee -i {log} >&2"


rule build_image:
    """The image of an engine that is built here from a folder of containers/, and its record."""
    input:
        first(1, PLAN.engine_sources),
    output:
        "results/engines/{engine}.json",
    log:
        "results/logs/engines/{engine}.log",
    wildcard_constraints:
        engine=PLAN.engines_with(lambda entry: entry.build),
    priority: ROUNDS[0]
    conda:
        "../envs/workflow.yaml"
    threads: 1
    resources:
        **needs(1, PLAN.image_needs),
    params:
        code=source_digest("build_image"),
        entry=first(1, PLAN.engine_entry),
    message:
        "Build the image of {wildcards.engine}."
    shell:
        "python -m scripts.build_image {wildcards.engine} --output {output} 2>&1 | tee -i {log} >&2"


rule pull_image:
    """The image of an engine, pulled by its digest, and its record."""
    output:
        "results/engines/{engine}.json",
    log:
        "results/logs/engines/{engine}.log",
    wildcard_constraints:
        engine=PLAN.engines_with(lambda entry: entry.image),
    priority: ROUNDS[0]
    retries: 3
    conda:
        "../envs/workflow.yaml"
    threads: 1
    resources:
        **needs(1, PLAN.image_needs),
        needs_gb=first(1, PLAN.engine_gpu_memory),
    params:
        code=source_digest("pull_image"),
        entry=first(1, PLAN.engine_entry),
    message:
        "Pull the image of {wildcards.engine}."
    shell:
        "python -m scripts.pull_image {wildcards.engine} --needs-gb {resources.needs_gb} --output {output}"
        " 2>&1 | tee -i {log} >&2"


rule find_endpoint:
    """What a server that already runs is, by its own account."""
    output:
        "results/engines/{engine}.json",
    log:
        "results/logs/engines/{engine}.log",
    wildcard_constraints:
        engine=PLAN.engines_with(lambda entry: entry.runtime == "external"),
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("find_endpoint"),
        endpoint=CONFIG.endpoint or "",
        model=[f"--model={CONFIG.endpoint_model}"] if CONFIG.endpoint_model else [],
    message:
        "Find out what serves at {params.endpoint}."
    shell:
        "python -m scripts.find_endpoint {wildcards.engine} --endpoint {params.endpoint:q} {params.model:q}"
        " --output {output} 2>&1 | tee -i {log} >&2"
