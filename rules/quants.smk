"""Quants: config/models.yaml becomes results/quants/{model}/{precision}/, weights with a manifest of their sha256.

Steps: pull the weights, draw them, or build or prune them by the precision's recipe from its source, a checkpoint or another
precision; where `evict_weights` is true, delete them once no cell of the grid needs them. A manifest is kept until its
successor is whole (`update`), since what was made from deleted weights goes by it.
"""


rule build_weights:
    """The weights of one precision, built by its recipe, and their manifest."""
    input:
        source=quant_source,
        engine=lambda wildcards: (
            f"results/engines/{BUILDER}.json" if QUANTISE_IN == "process" else []
        ),
    output:
        update("results/quants/{model}/{precision}/manifest.json"),
    log:
        "results/logs/quants/{model}-{precision}.log",
    wildcard_constraints:
        model=quants_with("llama-quantize"),
        precision="[^/]+",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    resources:
        on_gpus=serving_gpus,
        quantise_in=QUANTISE_IN,
    params:
        code=source_digest("build_weights", IN_CONTAINER),
        entry=lambda wildcards: shlex.quote(
            json.dumps(quant_of(wildcards), sort_keys=True)
        ),
        python=lambda wildcards, resources: (
            engine_python(BUILDER) if resources.quantise_in == "process" else "python"
        ),
    message:
        "Build the weights of {wildcards.model} in {wildcards.precision}."
    shell:
        "{params.python} -m scripts.build_weights {wildcards.model} {wildcards.precision}"
        " --entry {params.entry} --gpus {resources.on_gpus} --runtime {resources.quantise_in} --output {output} 2>&1 | tee -i {log} >&2"


rule convert_weights:
    """The weights of a checkpoint of ours as they are, a GGUF file of the same bits beside them, and their manifest."""
    input:
        quant_source,
    output:
        update("results/quants/{model}/{precision}/manifest.json"),
    log:
        "results/logs/quants/{model}-{precision}.log",
    wildcard_constraints:
        model=quants_with("gguf-bf16"),
        precision="[^/]+",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    resources:
        on_gpus=serving_gpus,
    params:
        code=source_digest("build_weights", IN_CONTAINER),
        content=source_content,
        entry=lambda wildcards: shlex.quote(
            json.dumps(quant_of(wildcards), sort_keys=True)
        ),
    message:
        "Convert the weights of {wildcards.model} in {wildcards.precision}."
    shell:
        "python -m scripts.build_weights {wildcards.model} {wildcards.precision}"
        " --entry {params.entry} --gpus {resources.on_gpus} --output {output} 2>&1 | tee -i {log} >&2"


rule prune_weights:
    """A precision with the least active of its experts pruned, calibrated on drawn episodes, and its manifest."""
    input:
        quant_source,
    output:
        update("results/quants/{model}/{precision}/manifest.json"),
    log:
        "results/logs/quants/{model}-{precision}.log",
    wildcard_constraints:
        model=quants_with("reap"),
        precision="[^/]+",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    resources:
        on_gpus=serving_gpus,
    params:
        code=source_digest("prune_weights"),
        entry=lambda wildcards: shlex.quote(
            json.dumps(quant_of(wildcards), sort_keys=True)
        ),
    message:
        "Prune the experts of {wildcards.model} to {wildcards.precision}."
    shell:
        "python -m scripts.prune_weights {wildcards.model} {wildcards.precision}"
        " --entry {params.entry} --gpus {resources.on_gpus} --output {output} 2>&1 | tee -i {log} >&2"


rule draw_weights:
    """A checkpoint with random weights of a given shape, drawn from a seed, and its manifest."""
    input:
        shape_files,
    output:
        update("results/quants/{model}/{precision}/manifest.json"),
    log:
        "results/logs/quants/{model}-{precision}.log",
    wildcard_constraints:
        model=quants_with("random"),
        precision="[^/]+",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    resources:
        on_gpus=serving_gpus,
    params:
        code=source_digest("draw_weights"),
        entry=lambda wildcards: shlex.quote(
            json.dumps(quant_of(wildcards), sort_keys=True)
        ),
    message:
        "Draw the weights of {wildcards.model} in {wildcards.precision}."
    shell:
        "python -m scripts.draw_weights {wildcards.model} {wildcards.precision}"
        " --entry {params.entry} --gpus {resources.on_gpus} --output {output} 2>&1 | tee -i {log} >&2"


rule quantise_weights:
    """The weights of one precision, made from another by llm-compressor, checked tensor by tensor, and their manifest."""
    input:
        source=quant_source,
        lock="envs/quantise.lock",
    output:
        update("results/quants/{model}/{precision}/manifest.json"),
    log:
        "results/logs/quants/{model}-{precision}.log",
    wildcard_constraints:
        model=quants_with("model-free-ptq"),
        precision="[^/]+",
    conda:
        "../envs/workflow.yaml"
    threads: 1
    resources:
        on_gpus=serving_gpus,
        quantise_in=QUANTISE_IN,
    params:
        code=source_digest("quantise_weights", IN_CONTAINER),
        entry=lambda wildcards: shlex.quote(
            json.dumps(quant_of(wildcards), sort_keys=True)
        ),
    message:
        "Quantise {wildcards.model} to {wildcards.precision}."
    shell:
        "python -m scripts.quantise_weights {wildcards.model} {wildcards.precision}"
        " --entry {params.entry} --gpus {resources.on_gpus} --runtime {resources.quantise_in} --output {output} 2>&1 | tee -i {log} >&2"


rule fetch_weights:
    """The weights of one precision, pulled from a hub at a pinned revision or found in a folder, and their manifest."""
    output:
        update("results/quants/{model}/{precision}/manifest.json"),
    log:
        "results/logs/quants/{model}-{precision}.log",
    wildcard_constraints:
        model=quants_with(None),
        precision="[^/]+",
    retries: 3
    conda:
        "../envs/workflow.yaml"
    threads: CORES if EVICT else 1
    resources:
        on_gpus=serving_gpus,
    params:
        code=source_digest("fetch_weights"),
        entry=quant_entry,
    message:
        "Bring the weights of {wildcards.model} in {wildcards.precision}."
    shell:
        "python -m scripts.fetch_weights {wildcards.model} {wildcards.precision}"
        " --entry {params.entry} --gpus {resources.on_gpus} --output {output} 2>&1 | tee -i {log} >&2"


rule evict_weights:
    """The weights of one precision, deleted once every cell that needs them is done; their manifest stays."""
    input:
        cells_that_need,
    output:
        "results/evicted/{model}/{precision}.json",
    log:
        "results/logs/quants/{model}-{precision}.evicted.log",
    wildcard_constraints:
        model=one_of(model for model, _ in EVICTABLE) or "(?!)",
        precision="[^/]+",
    priority: 2
    conda:
        "../envs/workflow.yaml"
    threads: 1
    params:
        code=source_digest("evict_weights"),
    message:
        "Delete the weights of {wildcards.model} in {wildcards.precision}."
    shell:
        "python -m scripts.evict_weights results/quants/{wildcards.model}/{wildcards.precision}"
        " --output {output} 2>&1 | tee -i {log} >&2"
