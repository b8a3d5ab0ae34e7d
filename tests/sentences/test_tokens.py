import pytest

from videozoo.sentences.tokens import SPECIALS, frequent_words, join_words, tokenize


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        (
            "A red ring grows, then it turns back-to-front.",
            ["a", "red", "ring", "grows", "then", "it", "turns", "back-to-front"],
        ),
        ("  The coach's dog doesn't bark!", ["the", "coach", "'s", "dog", "does", "n't", "bark"]),
        ("They’re (still) close-up; it cannot be.", ["they", "'re", "still", "close-up", "it", "can", "not", "be"]),
        ("He ran 3.5 km at 9:30 -- 10,000 steps.", ["he", "ran", "3.5", "km", "at", "9:30", "10,000", "steps"]),
        ("Café naïve", ["café", "naïve"]),
        (" ... !", []),
        ("", []),
    ],
)
def test_words(sentence, words):
    assert tokenize(sentence) == words


def test_contractions_are_joined_again():
    assert (
        join_words(tokenize("The coach's dog doesn't bark, they're sure."))
        == "the coach's dog doesn't bark they're sure"
    )
    assert join_words(()) == ""


def test_the_vocabulary_is_by_frequency_then_alphabet():
    sentences = [["b", "a", "c"], ["a", "b"], ["d"]]
    assert frequent_words(sentences) == (*SPECIALS, "a", "b", "c", "d")
    assert frequent_words(sentences, min_count=2) == (*SPECIALS, "a", "b")
