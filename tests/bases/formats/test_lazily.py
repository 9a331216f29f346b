"""A value is made when it is taken, and not before."""

from micrographia.bases.formats.lazily import Lazily, changed, once


def test_values_are_made_when_they_are_taken_each_time_anew() -> None:
    made: list[str] = []

    def make(name: str) -> int:
        made.append(name)
        return len(made)

    lazy = Lazily({"a": lambda: make("a"), "b": lambda: make("b")})
    doubled = changed(lazy, lambda key, value: (key, 2 * value))
    assert (list(lazy), len(lazy), "a" in lazy, "c" in lazy, made) == (["a", "b"], 2, True, False, [])
    assert doubled["b"] == ("b", 2)
    assert doubled["b"] == ("b", 4)
    assert made == ["b", "b"]


def test_a_value_may_be_made_once_and_kept() -> None:
    made: list[int] = []
    kept = once(Lazily({"a": lambda: made.append(1) or len(made), "b": lambda: made.append(2) or len(made)}))
    assert (list(kept), made) == (["a", "b"], [])
    assert (kept["b"], kept["b"], kept["a"], made) == (1, 1, 2, [2, 1])
