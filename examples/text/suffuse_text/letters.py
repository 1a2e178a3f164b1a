"""The decoder: between lines of text and the classes that are diffused."""

from collections.abc import Sequence

from suffuse import Categorical, Decoder, Field, Masked, Split, State
from suffuse.fields import measured
from suffuse_text.manual import LETTERS


class Letters(Decoder):
    """A letter is a class, and a blank where it is none of `LETTERS`; files are plain text."""

    suffix = ".txt"

    def fields(self, train: Split) -> dict[str, Field]:
        letters = Field(shape=(-1,), space=Categorical(len(LETTERS)), layout=Masked(), names=tuple(LETTERS))
        return measured({"letters": letters}, self.encode(train.some()))

    def encode(self, values: Sequence[str]) -> State:
        return State.padded(letters=[[max(0, LETTERS.find(letter)) for letter in line] for line in values])

    def decode(self, state: State) -> list[str]:
        shown = f"{LETTERS}_"  # what is hidden still
        return ["".join(shown[place] for place in line) for line in state.elements("letters")]
