"""What an answer to a ticket earns while it is learnt by `recipes/chat_grpo.yaml` and `recipes/chat_ppo.yaml`."""

from luthier.data.example import Example
from luthier.evaluate.json_answer import fields_equal, first_object


def fields(answer: str, example: Example) -> float:
    """The share of the reference's fields that the answer's JSON object has right; 0 where there is no object."""
    right = fields_equal(first_object(example.answer() or "") or {}, first_object(answer))
    return sum(right.values()) / max(1, len(right))
