import pytest

from tests.corpus.test_windows import strand_of


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (3, 9), (4, 5), (0, 14), (9, 9), (9, 14)])
def test_tokens_are_read_across_shards(start: int, stop: int) -> None:
    everything = [0, 1, 2, 3, 0, 5, 0, 7, 8, 0, 10, 11, 12, 13]
    strand = strand_of([4, 2], [], [3], [5], [])
    assert strand.n_tokens == len(everything)
    assert strand.read(start, stop).tolist() == everything[start:stop]
    assert strand.around(12, 5).tolist() == [12, 13, 0, 1, 2]


def test_documents_are_counted_over_all_shards() -> None:
    strand = strand_of([4, 2], [], [3], [5], [])
    assert strand.n_documents == 4
    assert [strand.bounds(number) for number in range(4)] == [(0, 4), (4, 6), (6, 9), (9, 14)]
    assert strand.lengths().tolist() == [4, 2, 3, 5]
    assert [strand.document_at(token) for token in range(14)] == [0] * 4 + [1] * 2 + [2] * 3 + [3] * 5
    assert [token for token in range(14) if strand.begins(token)] == [0, 4, 6, 9]
    assert [strand.name(number) for number in range(4)] == ["x"] * 4
    assert (strand.source(3), strand.fingerprint(2)) == (0, 0)


def test_nothing_is_a_strand_too() -> None:
    strand = strand_of([])
    assert (strand.n_tokens, strand.n_documents, strand.lengths().tolist()) == (0, 0, [])
