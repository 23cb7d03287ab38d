"""How the small models of the embedded grid were made: drawn episodes, a tokenizer, a training loop."""
