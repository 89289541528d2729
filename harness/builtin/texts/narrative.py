"""Stories and letters about the people of the Vale.

A text is consistent with the facts about its people and with its own earlier sentences. To predict
it, a model needs knowledge of the world and its context. Many random details prevent memorization.
"""

from random import Random

from harness.builtin.texts.world import (
    COLOURS,
    DAYS,
    ITEMS,
    MONTHS,
    NUMBERS,
    PLACES,
    SEASON_OF_MONTH,
    VILLAGES,
    WEATHERS,
    Person,
    World,
    any_person,
    count,
    say,
    with_article,
)

MOODS = ("happy", "tired", "proud", "hungry", "calm", "curious", "sleepy", "cheerful")
STORY_OPENINGS = (
    "One {weather.name} {day}, {hero.name} the {hero.job.name} left {hero.her} {hero.house_colour}"
    " house in {hero.village}.",
    "It was a {weather.name} morning in {month}, and {hero.name} of {hero.village} woke up {mood}.",
    "In {hero.village} lived {a_job} called {hero.name}, and on {day} {hero.she} felt {mood}.",
    "Long before {month} was over, {hero.name} of {hero.village} grew {mood} and put down the"
    " {hero.job.tool}.",
)
STORY_ENDINGS = (
    "That evening {hero.name} ate {hero.dish} and went to bed {mood}.",
    "From then on {hero.name} and {friend.name} met every {day}.",
    "{hero.name} walked home to {hero.village} and told {hero.pet_name} the {hero.pet}"
    " all about it.",
    "In the evening {hero.name}, who {hero.hobby}, felt {mood} again.",
    "And if it is still {weather.name}, {hero.she} may be laughing about it now.",
)
PET_IS_GONE = (
    "{hero.pet_name} the {hero.pet} was gone.",
    "But where was {hero.pet_name}, {hero.her} {hero.pet}?",
    "Then {hero.name} saw that {hero.pet_name} the {hero.pet} had run away.",
)
PET_IS_SEEN = (
    '"I saw {a_pet} near the {place}," said {friend.name} the {friend.job.name}.',
    "{friend.name} the {friend.job.name} came to help, and they went to the {place}.",
    '"{hero.pet_name} likes the {place}," said {friend.name}, who was {mood}.',
)
GIFT_IS_HURT = (
    "On the road the {item} fell into the mud, and {hero.she} washed it at the {place}.",
    "On the road a fox stole the {item}, but it soon dropped it near the {place}.",
    "At the {place} a {mood} child asked for the {item}, but {hero.name} kept it.",
)
LETTER_NEWS = (
    "It is {season} here in {writer.village}, and the weather is {weather.name}.",
    "Yesterday {writer.pet_name} broke my {colour} {item}, so I went to the {place} to buy"
    " a new {item}.",
    "I was at the {writer.job.workplace} until {hour}, as every {writer.job.name} must be.",
    "My {writer.house_colour} house needs a new {part}.",
    "We ate {writer.dish} {often} this week, and I am {mood}.",
    "The feast of {village.name} is in {village.festival_month}, and I would like to go.",
    "On {day} I sold {items} at the {place} and bought a {colour} {item}.",
)
LETTER_QUESTIONS = (
    "How is {friend.pet_name}, and is your {friend.house_colour} house still standing?",
    "Is {friend.village} as {mood} as ever?",
    "Do you still have time to eat {friend.dish} with a {mood} {writer.job.name}?",
)


def story(world: World, rng: Random) -> str:
    """Return a story about a person with a small problem and its solution."""
    hero = any_person(world, rng)
    friend = world.people[hero.friend]
    weather = rng.choice(WEATHERS)
    scene = {
        "hero": hero,
        "friend": friend,
        "weather": weather,
        "a_job": with_article(hero.job.name),
    }
    plot = rng.choice([_lost_pet, _gift, _stranger])
    return " ".join(
        [
            _told(rng, STORY_OPENINGS, **scene),
            f"{weather.sky}, so {hero.she} took {weather.wear}.",
            *plot(rng, hero, friend),
            _told(rng, STORY_ENDINGS, **scene),
        ]
    )


def _told(rng: Random, ways: tuple[str, ...], **words: object) -> str:
    time_and_mood = {name: rng.choice(values) for name, values in _TIME_AND_MOOD.items()}
    return say(rng, ways, **time_and_mood, **words)


_TIME_AND_MOOD = {"day": DAYS, "month": MONTHS, "mood": MOODS}


def _lost_pet(rng: Random, hero: Person, friend: Person) -> list[str]:
    """Return a story of a lost pet."""
    empty, place = rng.sample(PLACES, 2)
    words = {"hero": hero, "friend": friend, "a_pet": with_article(hero.pet), "place": place}
    return [
        _told(rng, PET_IS_GONE, **words),
        f"{hero.name} looked behind the {empty}, but nobody was there.",
        _told(rng, PET_IS_SEEN, **words),
        f"At the {place} {hero.she} found {hero.pet_name} and gave a shout of joy.",
    ]


def _gift(rng: Random, hero: Person, friend: Person) -> list[str]:
    """Return a story of a gift."""
    colour, item, place = rng.choice(COLOURS), rng.choice(ITEMS), rng.choice(PLACES)
    needy = with_article(friend.job.name)
    return [
        f"{hero.name} carried a {colour} {item} for {friend.name}, who lived in {friend.village}.",
        _told(rng, GIFT_IS_HURT, hero=hero, item=item, place=place),
        f'"A {colour} {item}!" said {friend.name}. "Just what {needy} needs."',
    ]


def _stranger(rng: Random, hero: Person, friend: Person) -> list[str]:
    """Return a story of a visitor."""
    village, item, place = rng.choice(VILLAGES), rng.choice(ITEMS), rng.choice(PLACES)
    has, more = rng.randint(1, 9), rng.randint(1, 9)
    return [
        f"A {rng.choice(MOODS)} stranger from {village.name}, {village.lies}, stood at the {place}"
        f" with {count(has, item)}.",
        f"{hero.name} gave the stranger {NUMBERS[more]} more, and that made"
        f" {count(has + more, item)}.",
        f"The stranger thanked {hero.name} and {friend.name} with some {village.known_for}.",
    ]


def letter(world: World, rng: Random) -> str:
    """Return a letter to a friend, or a page of a diary."""
    writer = any_person(world, rng)
    friend = world.people[writer.friend]
    month = rng.choice(MONTHS)
    news = [
        say(
            rng,
            (way,),
            writer=writer,
            season=SEASON_OF_MONTH[month],
            weather=rng.choice(WEATHERS),
            village=rng.choice(VILLAGES),
            colour=rng.choice(COLOURS),
            item=rng.choice(ITEMS),
            items=count(rng.randint(1, 9), rng.choice(ITEMS)),
            place=rng.choice(PLACES),
            day=rng.choice(DAYS),
            mood=rng.choice(MOODS),
            hour=rng.choice(["noon", "dusk", "midnight"]),
            part=rng.choice(["roof", "door", "window", "chimney"]),
            often=rng.choice(["twice", "again", "with the neighbours"]),
        )
        for way in rng.sample(LETTER_NEWS, 3)
    ]
    if rng.random() < 0.6:
        asked = _told(rng, LETTER_QUESTIONS, friend=friend, writer=writer)
        body = " ".join([*news, asked])
        return f"Dear {friend.name},\n{body}\nYour friend, {writer.name}"
    heading = f"Diary of {writer.name}, {rng.randint(1, 28)} {month}."
    return " ".join(
        [heading, *news, f"I must write to {friend.name} in {friend.village} about it."]
    )
