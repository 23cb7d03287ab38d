"""Quants: config/models.yaml becomes results/quants/{model}/{precision}/, weights with a manifest of their sha256.

Steps: pull the weights, draw them, or build or prune them by the precision's recipe from its source, a checkpoint or another precision.
"""


rule build_weights:
    """The weights of one precision, built by its recipe, and their manifest."""
    input:
        source=quant_source,
        engine=lambda wildcards: f"results/engines/{BUILDER}.json",
    output:
        "results/quants/{model}/{precision}/manifest.json",
    log:
        "results/logs/quants/{model}-{precision}.log",
    wildcard_constraints:
        model=quants_with("llama-quantize"),
        precision="[^/]+",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("build_weights"),
        entry=lambda wildcards: shlex.quote(
            json.dumps(quant_of(wildcards), sort_keys=True)
        ),
        python=lambda wildcards: engine_python(BUILDER),
    message:
        "Build the weights of {wildcards.model} in {wildcards.precision}."
    shell:
        "{params.python} -m scripts.build_weights {wildcards.model} {wildcards.precision}"
        " --entry {params.entry} --output {output} 2>&1 | tee -i {log} >&2"


rule convert_weights:
    """The weights of a checkpoint of ours as they are, a GGUF file of the same bits beside them, and their manifest."""
    input:
        quant_source,
    output:
        "results/quants/{model}/{precision}/manifest.json",
    log:
        "results/logs/quants/{model}-{precision}.log",
    wildcard_constraints:
        model=quants_with("gguf-bf16"),
        precision="[^/]+",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("build_weights"),
        content=source_content,
        entry=lambda wildcards: shlex.quote(
            json.dumps(quant_of(wildcards), sort_keys=True)
        ),
    message:
        "Convert the weights of {wildcards.model} in {wildcards.precision}."
    shell:
        "python -m scripts.build_weights {wildcards.model} {wildcards.precision}"
        " --entry {params.entry} --output {output} 2>&1 | tee -i {log} >&2"


rule prune_weights:
    """A precision with the least active of its experts pruned, calibrated on drawn episodes, and its manifest."""
    input:
        quant_source,
    output:
        "results/quants/{model}/{precision}/manifest.json",
    log:
        "results/logs/quants/{model}-{precision}.log",
    wildcard_constraints:
        model=quants_with("reap"),
        precision="[^/]+",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("prune_weights"),
        entry=lambda wildcards: shlex.quote(
            json.dumps(quant_of(wildcards), sort_keys=True)
        ),
    message:
        "Prune the experts of {wildcards.model} to {wildcards.precision}."
    shell:
        "python -m scripts.prune_weights {wildcards.model} {wildcards.precision}"
        " --entry {params.entry} --output {output} 2>&1 | tee -i {log} >&2"


rule draw_weights:
    """A checkpoint with random weights of a given shape, drawn from a seed, and its manifest."""
    input:
        shape_files,
    output:
        "results/quants/{model}/{precision}/manifest.json",
    log:
        "results/logs/quants/{model}-{precision}.log",
    wildcard_constraints:
        model=quants_with("random"),
        precision="[^/]+",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("draw_weights"),
        entry=lambda wildcards: shlex.quote(
            json.dumps(quant_of(wildcards), sort_keys=True)
        ),
    message:
        "Draw the weights of {wildcards.model} in {wildcards.precision}."
    shell:
        "python -m scripts.draw_weights {wildcards.model} {wildcards.precision}"
        " --entry {params.entry} --output {output} 2>&1 | tee -i {log} >&2"


rule quantise_weights:
    """The weights of one precision, made from another by llm-compressor, checked tensor by tensor, and their manifest."""
    input:
        source=quant_source,
        lock="envs/quantise.lock",
    output:
        "results/quants/{model}/{precision}/manifest.json",
    log:
        "results/logs/quants/{model}-{precision}.log",
    wildcard_constraints:
        model=quants_with("model-free-ptq"),
        precision="[^/]+",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("quantise_weights"),
        entry=lambda wildcards: shlex.quote(
            json.dumps(quant_of(wildcards), sort_keys=True)
        ),
    message:
        "Quantise {wildcards.model} to {wildcards.precision}."
    shell:
        "python -m scripts.quantise_weights {wildcards.model} {wildcards.precision}"
        " --entry {params.entry} --output {output} 2>&1 | tee -i {log} >&2"


rule fetch_weights:
    """The weights of one precision, pulled from a hub at a pinned revision or found in a folder, and their manifest."""
    output:
        "results/quants/{model}/{precision}/manifest.json",
    log:
        "results/logs/quants/{model}-{precision}.log",
    wildcard_constraints:
        model=quants_with(None),
        precision="[^/]+",
    retries: 3
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("fetch_weights"),
        entry=quant_entry,
    message:
        "Bring the weights of {wildcards.model} in {wildcards.precision}."
    shell:
        "python -m scripts.fetch_weights {wildcards.model} {wildcards.precision}"
        " --entry {params.entry} --output {output} 2>&1 | tee -i {log} >&2"
