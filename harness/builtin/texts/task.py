"""The target task: convert a clerk's note to the call of a town crier.

    lost: red hat; near: mill; bell: 3; ask: Tobin
    -> Hark! A red hat went astray by the mill at third bell. Tell Tobin.

Pretraining contains neither the form of the prompts nor the language of the calls. Every input has
all correct calls as references (2 openings × 3 bodies), so that BLEU accepts each of them. A model
has to learn the crier's words, the meaning of each kind of note, and to copy details.
"""

from dataclasses import dataclass
from random import Random

from harness.builtin.texts.world import BELLS, COLOURS, ITEMS, PLACES, World, with_article


@dataclass(frozen=True)
class Notice:
    """One kind of note, and the calls that are correct for it."""

    kind: str
    openings: tuple[str, str]
    bodies: tuple[str, str, str]


NOTICES = (
    Notice(
        "lost",
        ("Hark!", "Hear ye!"),
        (
            "{A_thing} went astray by the {place} at {nth} bell. Tell {name}.",
            "Who hath seen {a_thing}, gone from the {place} at {nth} bell? Tell {name}.",
            "{name} mourneth {a_thing}, lost by the {place} at {nth} bell.",
        ),
    ),
    Notice(
        "found",
        ("Rejoice!", "Good tidings!"),
        (
            "{A_thing} lay by the {place} at {nth} bell. Ask {name}.",
            "Whose is {a_thing}, left by the {place} at {nth} bell? Ask {name}.",
            "{name} hath {a_thing}, found by the {place} at {nth} bell.",
        ),
    ),
    Notice(
        "sale",
        ("Draw near!", "Open thy purse!"),
        (
            "{A_thing} goeth cheap by the {place} at {nth} bell. Pay {name}.",
            "Who buyeth {a_thing} by the {place} at {nth} bell? Pay {name}.",
            "{name} selleth {a_thing} by the {place} at {nth} bell.",
        ),
    ),
    Notice(
        "wanted",
        ("Lend an ear!", "Pray listen!"),
        (
            "{A_thing} is needed by the {place} ere {nth} bell. Help {name}.",
            "Who can spare {a_thing} by the {place} ere {nth} bell? Help {name}.",
            "{name} lacketh {a_thing} by the {place} ere {nth} bell.",
        ),
    ),
)
PROMPT = "{kind}: {thing}; near: {place}; bell: {bell}; ask: {name}"


def notices(world: World, seed: int, sizes: dict[str, int]) -> dict[str, list[dict]]:
    """Return split → rows ``{prompt, references}``. No prompt occurs twice.

    The order of references is random in every row, so that training on the first one covers all
    kinds.
    """
    rng = Random(f"task-{seed}")
    rows: dict[str, dict] = {}
    while len(rows) < sum(sizes.values()):
        row = _notice(world, rng)
        rows.setdefault(row["prompt"], row)
    drawn = iter(rows.values())
    return {split: [next(drawn) for _ in range(size)] for split, size in sizes.items()}


def _notice(world: World, rng: Random) -> dict:
    """Return one row."""
    notice = rng.choice(NOTICES)
    thing = f"{rng.choice(COLOURS)} {rng.choice(ITEMS)}"
    bell = rng.randint(1, len(BELLS))
    details = {
        "thing": thing,
        "place": rng.choice(PLACES),
        "bell": bell,
        "name": rng.choice(list(world.people)),
    }
    said = {
        "a_thing": with_article(thing),
        "A_thing": with_article(thing).capitalize(),
        "nth": BELLS[bell - 1],
    }
    references = [
        f"{opening} {body.format(**details, **said)}"
        for opening in notice.openings
        for body in notice.bodies
    ]
    rng.shuffle(references)
    return {"prompt": PROMPT.format(kind=notice.kind, **details), "references": references}
