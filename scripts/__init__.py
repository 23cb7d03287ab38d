"""tempzero: does a language model return the same bytes twice at temperature 0?"""
