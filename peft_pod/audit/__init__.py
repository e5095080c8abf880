"""Does anything give the held-out items away? Checks that a corpus, its split and its item IDs go through.

Example:
    >>> from peft_pod.audit import audit
    >>> from peft_pod.corpus import load_corpus
    >>> audit(load_corpus("embedded", num_users=100), "random").leaks
    False
"""

from .finding import Audit as Audit
from .finding import Finding as Finding
from .run import audit as audit
from .run import nothing_to_audit as nothing_to_audit
