"""Engines behind one protocol: token ids in, token ids and logprobs out."""
