"""Item and user IDs: words made from the training part alone. A new scheme is one file and one line here."""

from .atomic import AtomicIndexing as AtomicIndexing
from .base import Indexing as Indexing
from .base import NotFittedError as NotFittedError
from .collaborative import CollaborativeIndexing as CollaborativeIndexing
from .hybrid import HybridIndexing as HybridIndexing
from .paper import LeakWarning as LeakWarning
from .paper import PaperIndexing as PaperIndexing
from .random import RandomIndexing as RandomIndexing
from .registry import available_indexings as available_indexings
from .registry import indexing_from_dict as indexing_from_dict
from .registry import load_indexing as load_indexing
from .registry import register_indexing as register_indexing
from .semantic import SemanticIndexing as SemanticIndexing
from .sequential import SequentialIndexing as SequentialIndexing
from .title import TitleIndexing as TitleIndexing
from .vectors import collaborative_vectors as collaborative_vectors
