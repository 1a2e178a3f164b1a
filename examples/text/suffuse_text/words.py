"""The metric: how much of what is written are words."""

from suffuse import Evaluation, Score


class Words:
    """The share of words that are in the training lines."""

    def __call__(self, evaluation: Evaluation) -> list[Score]:
        known = {word for line in evaluation.train.some(10**6) for word in line.split()}
        shares = []
        for lines in (evaluation.values, evaluation.heldout.some()):
            words = " ".join(lines).split()
            shares.append(sum(word in known for word in words) / max(1, len(words)))
        about = "The share of all words that some line of the training data has."
        return [Score(name="known words", value=shares[0], real=shares[1], better="higher", about=about)]
