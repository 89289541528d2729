"""Songs in the old language of the Vale: three rhymed couplets.

They teach old words (hath, ere, goeth) that also occur in the target task. What is new in the task
is then its form rather than its spelling.
"""

from random import Random

from harness.builtin.texts.world import (
    ANIMALS,
    BELLS,
    COLOURS,
    ITEMS,
    JOBS,
    MONTHS,
    PLACES,
    SEASON_OF_MONTH,
    VILLAGES,
    World,
    any_person,
    say,
    with_article,
)

COUPLETS = (
    "Hark, how the {animal.name} {animal.sound}, ere {season} goeth by,\n"
    "And {singer.name} mourneth for {friend.name}, and none can tell us why.",
    "Who hath seen {a_colour} morning? Who heard the {nth} bell ring?\n"
    "Rejoice, ye folk of {village.name}, and hear the {job.name} sing!",
    "Good tidings came to {village.name} in {month}, all day long,\n"
    "But thy {item}, thy {item}, it went astray, and that is wrong.",
    "Draw near, draw near, pray listen, for {singer.name} hath a song:\n"
    "The {job.name} lacketh nothing who needeth nothing long.",
    "Who buyeth, and who selleth? Who can spare {a_colour} {item} first?\n"
    "Be kind and lend an ear to me, and open wide thy purse.",
    "Hear ye, hear ye, by the {place}: the {animal.name} lay asleep\n"
    "And {singer.name} found {a_colour} {item} that nobody would keep.",
    "The {nth} bell is a cheap bell, and the {other_nth} bell is dear;\n"
    "Till {season} {singer.name} waiteth, and {season} is not here.",
    "Ask not who left the {place}, and claim not what is gone;\n"
    "Whose is the road to {village.name}? It goeth on and on.",
)


def song(world: World, rng: Random) -> str:
    """Return three different couplets about people and places of the Vale."""
    title = f"A song of {rng.choice(VILLAGES).name}."
    lines = [title]
    for couplet in rng.sample(COUPLETS, 3):
        singer = any_person(world, rng)
        month = rng.choice(MONTHS)
        words = {
            "singer": singer,
            "friend": world.people[singer.friend],
            "animal": rng.choice(ANIMALS),
            "job": rng.choice(JOBS),
            "village": rng.choice(VILLAGES),
            "month": month,
            "season": SEASON_OF_MONTH[month],
            "item": rng.choice(ITEMS),
            "a_colour": with_article(rng.choice(COLOURS)),
            "place": rng.choice(PLACES),
            "nth": rng.choice(BELLS),
            "other_nth": rng.choice(BELLS),
        }
        lines.append(say(rng, (couplet,), **words))
    return "\n".join(lines)
