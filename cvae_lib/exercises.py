"""Exercises that check themselves: an answer is empty, wrong for a reason that is said, or right."""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cvae_lib import notebook


class EmptyError(Exception):
    """An answer that nobody has written yet."""


@dataclass(frozen=True)
class Verdict:
    """What a check says of an answer."""

    kind: str  # "passed", "empty", "wrong", or "raised" where the answer's own code failed
    reason: str = ""

    @property
    def passed(self) -> bool:
        """Whether the answer is right."""
        return self.kind == "passed"


class Exercise:
    """The check of one exercise, to be asked about any answer. Made by `exercise`."""

    def __init__(self, check: Callable[..., None]) -> None:
        self.check = check
        self.name = check.__name__.replace("_", " ")

    def verdict(self, **answers: Any) -> Verdict:
        """What the check says of these answers, under the names that it gives them."""
        try:
            self.check(**{name: _filled(name, answer) for name, answer in answers.items()})
        except EmptyError as empty:
            return Verdict("empty", str(empty))
        except AssertionError as wrong:
            return Verdict("wrong", str(wrong))
        except Exception as error:  # whatever a student's code does, the notebook goes on
            return Verdict("raised", f"it raised {type(error).__name__}: {error}")
        return Verdict("passed")

    def refuses(self, **answers: Any) -> None:
        """Print why the check refuses a wrong or an empty answer.

        Raises:
            AssertionError: where it does not, or where the answer's own code failed before the check could.
        """
        found = self.verdict(**answers)
        if found.kind not in ("wrong", "empty"):
            raise AssertionError(f"{self.name} should refuse this answer, but: {found.reason or found.kind}")
        print(f"{self.name} refuses it: {found.reason}")


def exercise(**answers: Any) -> Callable[[Callable[..., None]], Exercise]:
    """Decorate the check of an exercise: it is run at once on the student's answers, and the verdict printed.

    The check is a function named after the exercise, such as `exercise_2`, with one parameter per answer, that
    asserts, with a message that says what is wrong. An answer of `None` or `...` is empty, as is a dict that holds
    one, and a function that returns one.

    Args:
        answers: the student's values and functions, by the names of the check's parameters.

    Returns:
        A decorator that makes an `Exercise` of the check.

    Raises:
        ValueError: for a call without answers.
        AssertionError: by the decorator, in strict mode (`notebook.strict`), for an answer that is neither empty
            nor right.
    """
    if not answers:
        raise ValueError("exercise: got no answers; give at least one as name=value")

    def decorate(check: Callable[..., None]) -> Exercise:
        made = Exercise(check)
        found = made.verdict(**answers)
        print(f"{made.name}: {'passed' if found.passed else f'NOT YET: {found.reason}'}")
        if notebook.strict() and found.kind in ("wrong", "raised"):
            raise AssertionError(f"{made.name}: {found.reason}")
        return made

    return decorate


def checks(name: str, namespace: dict[str, Any]) -> Callable[..., Exercise]:
    """The checks of a notebook's exercises, which stand in `notebooks/checks/`.

    Args:
        name: the notebook's file name without its ending.
        namespace: `globals()` of the notebook, where the checks find its models and data.

    Returns:
        `check(2, kl=kl)`, which runs the section `# %% exercise_2` of the file and then its function on the answers,
        as `exercise` does, and returns the `Exercise`.

    Raises:
        ValueError: for a name without checks, and by `check` for a number without one.
    """
    file = notebook.folder() / "checks" / f"{name}.py"
    if not file.is_file():
        raise ValueError(f"name: got {name!r}; there is no file checks/{name}.py")
    _, *parts = re.split(r"^# %% (exercise_\d+)\n", file.read_text(encoding="utf-8"), flags=re.M)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))

    def check(number: int, **answers: Any) -> Exercise:
        key = f"exercise_{number}"
        if key not in sections:
            raise ValueError(f"number: got {number!r}; {name} has {', '.join(sections)}")
        exec(compile(sections[key], str(file), "exec"), namespace)
        return exercise(**answers)(namespace[key])

    return check


def _filled(name: str, answer: Any) -> Any:
    """The answer, where it is a function one that complains of returning nothing."""
    if answer is None or answer is ...:
        raise EmptyError(f"`{name}` is empty")
    if isinstance(answer, dict):
        return {key: _filled(f"{name}[{key!r}]", value) for key, value in answer.items()}
    if not isinstance(answer, types.FunctionType):
        return answer

    @functools.wraps(answer)
    def whole(*args: Any, **named: Any) -> Any:
        value = answer(*args, **named)
        if value is None or value is ...:
            raise EmptyError(f"`{name}` returns nothing")
        return value

    return whole
