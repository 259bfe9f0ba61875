"""What the policy reads of a search."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from tr_grpo.data_prep.tiny_model.files import SHIPPED
from tr_grpo.search.observation import CLOSING, EMPTY, FAILED, OPENING, encode_observation, passages_text
from tr_grpo.search.passage import Passage

TOKENIZER = AutoTokenizer.from_pretrained(SHIPPED)


def test_passages_are_written_as_search_r1_writes_them() -> None:
    """Search-R1's ``_passages2string`` of the documents' ``contents``, then stripped by its loop."""
    passages = [Passage("1", "Ada Lovelace", "Born in London.\nDied in 1852."), Passage("2", "Zürich", "A city. ")]
    theirs = ""
    for index, passage in enumerate(passages):
        title, *text = passage.contents.split("\n")
        theirs += f"Doc {index + 1}(Title: {title}) " + "\n".join(text) + "\n"
    assert passages_text(passages) == theirs.strip()


def test_nothing_found_and_a_failed_search_read_differently() -> None:
    assert passages_text([]) == EMPTY
    assert EMPTY not in FAILED
    assert "not an empty result" in FAILED


@given(st.text(), st.integers(60, 200))
def test_the_limit_is_kept_and_so_are_the_tags(body: str, limit: int) -> None:
    ids = encode_observation(TOKENIZER, body, limit)
    text = TOKENIZER.decode(ids)
    assert len(ids) <= limit
    assert text.startswith(OPENING)
    assert text.endswith(CLOSING)


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=40))
@example("\uf900")  # NFC makes another character of it
def test_what_fits_arrives_whole(body: str) -> None:
    """In Unicode's composed form, which Qwen's tokenizers bring every text into."""
    ids = encode_observation(TOKENIZER, body, 10_000)
    assert TOKENIZER.decode(ids) == unicodedata.normalize("NFC", OPENING + body + CLOSING)


def test_a_limit_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match=r"search\.max_observation_tokens=3"):
        encode_observation(TOKENIZER, "text", 3)


@given(st.text(min_size=1), st.text())
def test_a_passage_survives_the_wire(title: str, text: str) -> None:
    passage = Passage("7", title.replace("\n", " ").replace("\r", " "), text)
    assert Passage.of_wire(passage.wire()) == passage


@pytest.mark.parametrize("document", [None, 3, [], {}, {"id": "1"}, {"contents": None}, {"text": 5}])
def test_a_document_without_text_is_an_error(document: object) -> None:
    with pytest.raises(ValueError, match="document"):
        Passage.of_wire(document)


@pytest.mark.parametrize(
    ("contents", "title", "text"),
    [
        ('"Ada"\nBorn.', "Ada", "Born."),
        ('"Ada"', "", '"Ada"'),  # one line is text
        ("Ada\nBorn.", "", "Ada\nBorn."),  # no quotes, no title
        ('""\nBorn.', "", '""\nBorn.'),
        ('"She said "hi""\nText', 'She said "hi"', "Text"),
        ("", "", ""),
    ],
)
def test_contents_are_split_at_a_quoted_first_line(contents: str, title: str, text: str) -> None:
    assert Passage.of_contents("1", contents) == Passage("1", title, text)
