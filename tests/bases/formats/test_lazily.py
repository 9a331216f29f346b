"""A value is made when it is taken, and not before."""

from micrographia.bases.formats.lazily import Lazily, changed


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
