"""Public and own questions, answered by searching, as verl data: checked, deduplicated, kept apart from test sets."""

from tr_grpo.data_prep.search_qa.dataset import SearchQAConfig, build_dataset
from tr_grpo.data_prep.search_qa.sources import SOURCES
from tr_grpo.data_prep.search_qa.templates import TEMPLATES, Template

__all__ = ["SOURCES", "TEMPLATES", "SearchQAConfig", "Template", "build_dataset"]
