"""Models and their tokenizers: loading, chat rendering, the embedded model."""
