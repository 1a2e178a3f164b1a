"""What suffuse expects of every plugin: the same checks as `suffuse plugins check points`."""

from collections.abc import Callable

from suffuse.testing import parametrize_with_checks


@parametrize_with_checks("points")
def test_conformance(check: Callable[[], None]) -> None:
    check()
