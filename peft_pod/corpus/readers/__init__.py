"""Readers: one file a format, and what they share.

`blocks`, `json_lines` and `delimited` read files piece by piece and find damage; `interactions` and `items` make the
tables of them and count what each rule found. A format is a file with a function `read_…` and a function `find_…` that
says whether a folder has it; `peft_pod.corpus.load` registers them.
"""
