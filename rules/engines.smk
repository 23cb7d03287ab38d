"""Engines: config/engines.yaml becomes a locked environment or an image, and results/engines/{engine}.json.

Steps: create the environment (once; it stays in .envs/) or pull or build the image, record what it is.
"""


rule create_env:
    """The locked environment of an engine that runs as a process, and its record."""
    input:
        lock=engine_lock,
    output:
        "results/engines/{engine}.json",
    log:
        "results/logs/engines/{engine}.log",
    wildcard_constraints:
        engine=engines_with("lock"),
    priority: 1
    conda:
        "../envs/workflow.yaml"
    threads: 1
    resources:
        needs_gb=needed_gpu_memory,
    params:
        code=source_digest("create_env"),
        entry=lambda wildcards: json.dumps(engine_of(wildcards), sort_keys=True),
    message:
        "Set up the engine {wildcards.engine}."
    shell:
        "python -m scripts.create_env {wildcards.engine} --needs-gb {resources.needs_gb} --output {output}"
        " 2>&1 | tee -i {log} >&2"


rule build_image:
    """The image of an engine that is built here from a folder of containers/, and its record."""
    input:
        image_sources,
    output:
        "results/engines/{engine}.json",
    log:
        "results/logs/engines/{engine}.log",
    wildcard_constraints:
        engine=engines_with("build"),
    priority: 1
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("build_image"),
        entry=lambda wildcards: json.dumps(engine_of(wildcards), sort_keys=True),
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
        engine=engines_with("image"),
    priority: 1
    retries: 3
    conda:
        "../envs/workflow.yaml"
    threads: 1
    resources:
        needs_gb=needed_gpu_memory,
    params:
        code=source_digest("pull_image"),
        entry=lambda wildcards: json.dumps(engine_of(wildcards), sort_keys=True),
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
        engine=one_of(
            name
            for name, entry in CONFIGURATION.engines.items()
            if entry["runtime"] == "external"
        )
        or "(?!)",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("find_endpoint"),
        endpoint=shlex.quote(str(CONFIGURATION.config["endpoint"])),
        model=(
            shlex.quote(f"--model={CONFIGURATION.config['endpoint_model']}")
            if CONFIGURATION.config["endpoint_model"]
            else ""
        ),
    message:
        "Find out what serves at {params.endpoint}."
    shell:
        "python -m scripts.find_endpoint {wildcards.engine} --endpoint {params.endpoint} {params.model}"
        " --output {output} 2>&1 | tee -i {log} >&2"
