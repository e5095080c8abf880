"""Item and user IDs: words made from the training part alone. A new scheme is one file and one line here."""

from .base import Indexing as Indexing
from .base import NotFittedError as NotFittedError
from .random import RandomIndexing as RandomIndexing
from .registry import available_indexings as available_indexings
from .registry import indexing_from_dict as indexing_from_dict
from .registry import load_indexing as load_indexing
from .registry import register_indexing as register_indexing
from .sequential import SequentialIndexing as SequentialIndexing
from .vectors import collaborative_vectors as collaborative_vectors
