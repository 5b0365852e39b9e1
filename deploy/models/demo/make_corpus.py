#!/usr/bin/env python3
"""Writes the training conversations and the held-out checks of the demo model.

    make_corpus.py --out DIR [--tokens N] [--seed S]

DIR/train.jsonl has one {"kind", "messages"} or {"kind", "text"} per line. DIR/check.jsonl has one {"kind",
"messages", "keys"} per line; an answer to `messages` is right when it contains every key. Everything comes
from the lists in corpus_data.py and a seeded generator, so the same arguments give the same bytes.
"""

import argparse
import json
import os
import random

import corpus_data as data
from make_recall import RecallMaker, upper_first


def held_out_sum(a, b):
    """Returns whether the sum is held out: about a tenth of all pairs, the same for a + b and b + a."""
    return (7 * (a + b) + 3 * a * b) % 11 == 5


def held_out_difference(a, b):
    return (5 * a + 7 * b + a * b) % 11 == 3


def a(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


class Maker(RecallMaker):
    """Makes conversations from the lists in corpus_data.py and a seeded generator."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.pick = self.rng.choice

    def chance(self, share):
        return self.rng.random() < share

    # Words and sentences.

    def new_word(self, low=2, high=4):
        syllables = [self.pick(data.SYLLABLES) for _ in range(self.rng.randint(low, high))]
        return "".join(syllables) + self.pick(data.ENDINGS)

    def name(self):
        """Returns a name. Half of the names are invented: the model must copy them and cannot guess them."""
        return self.new_word(2, 3).capitalize() if self.chance(0.5) else self.pick(data.NAMES)

    def number(self):
        return str(self.rng.randrange(10 ** self.rng.randint(1, 4)))

    def noun(self):
        return self.pick(self.pick((data.ANIMALS, data.THINGS, data.PEOPLE, data.PLACES, data.FOODS)))

    def filler_sentence(self):
        p, d = self.pick, data
        kind = self.rng.randrange(9)
        if kind == 0:
            return (f"The {p(d.ADJECTIVES)} {self.noun()} {p(d.VERBS_NOW)} "
                    f"the {p(d.ADJECTIVES)} {self.noun()}.")
        if kind == 1:
            return f"The {p(d.PEOPLE)} {p(d.VERBS_PAST)} {a(p(d.THINGS))} near the {p(d.PLACES)}."
        if kind == 2:
            return f"{upper_first(p(d.TIMES))} the {p(d.PEOPLE)} {p(d.VERBS_NOW)} the {self.noun()}."
        if kind == 3:
            return f"There is {a(p(d.ADJECTIVES))} {self.noun()} in the {p(d.PLACES)}."
        if kind == 4:
            return f"{self.name()} {p(d.VERBS_PAST)} the {p(d.THINGS)} of the {p(d.PEOPLE)} {p(d.TIMES)}."
        if kind == 5:
            return f"The {p(d.PLACES)} is {p(d.ADJECTIVES)} and the {self.noun()} is {p(d.ADJECTIVES)}."
        if kind == 6:
            return p(d.GUIDES)
        if kind == 7:
            return p(d.PREFIXD_NOTES)
        return (f"Rule {self.number()}: the {p(d.PEOPLE)} {p(d.VERBS_NOW)} {self.number()} {p(d.FOODS)} "
                f"{p(d.TIMES)}.")

    def filler(self, words, plain=False):
        """Returns sentences with at least `words` words together. Unless `plain`, these are sometimes a few
        sentences that repeat, numbered rules, or invented words, each of which counts as three."""
        style, out, count, weight = 1.0 if plain else self.rng.random(), [], 0, 1
        if style < 0.1:
            again = [self.filler_sentence() for _ in range(self.rng.randint(1, 4))]
            source = lambda: self.pick(again)
        elif style < 0.2:
            rule, places = self.pick(data.RULES), self.rng.sample(data.PLACES, 5)
            source = lambda: f"Rule {len(out) + 1}: " + rule.format(
                place=self.pick(places), thing=self.pick(data.THINGS), person=self.pick(data.PEOPLE))
        elif style < 0.26:
            source = lambda: " ".join(self.new_word(1, 3)
                                      for _ in range(self.rng.randint(4, 9))).capitalize() + "."
            weight = 3
        else:
            source = self.filler_sentence
        while count < words:
            out.append(source())
            count += weight * (out[-1].count(" ") + 1)
        return out

    # Pieces of conversation: lists of (question, answer).

    def fact(self):
        name, answer, _, asks, held_out = self.pick(data.FACTS)
        if self.chance(0.65):
            ask = self.pick(asks)
        else:
            ask = self.pick(data.TOPIC_FRAMES).replace("{t}", self.pick(data.TOPICS[name]))
        if upper_first(ask) in held_out:
            return self.fact()
        ask = ask.replace("{p}", self.pick(data.SUBJECTS))
        lead = self.pick(data.LEADS)
        within_sentence = lead.endswith((": ", ", "))
        ask = ask[0].lower() + ask[1:] if within_sentence else upper_first(ask)
        ask = lead + ask + self.pick(data.TAILS)
        style = self.rng.random()
        if style < 0.08:
            ask = ask.lower()
        elif style < 0.16:
            ask = ask.rstrip("?.")
        return [(ask, answer)]

    def addition(self):
        while True:
            top = 20 if self.chance(0.85) else 99
            x, y = self.rng.randint(0, top), self.rng.randint(0, top)
            if not held_out_sum(x, y):
                break
        thing, person = a(self.pick(data.THINGS)), self.pick(data.PEOPLE)
        ask = self.pick((f"What is {x} + {y}?", f"{x} + {y}", f"{x} + {y} = ?", f"{x}+{y}", f"{x}+{y}=?",
                         f"What is {x} plus {y}?", f"How much is {x} plus {y}?", f"Add {x} and {y}.",
                         f"What is the sum of {x} and {y}?",
                         f"Calculate {x} + {y}.", f"Please add {x} and {y}.", f"How much is {x} + {y}?",
                         f"The {person} has {thing} for {x} and {thing} for {y}. What is the sum?",
                         f"I have {x} coins and get {y} more. How many coins do I have?"))
        return [(ask, f"{x} + {y} = {x + y}.")]

    def subtraction(self):
        while True:
            x = self.rng.randint(0, 20)
            y = self.rng.randint(0, x)
            if not held_out_difference(x, y):
                break
        ask = self.pick((f"What is {x} - {y}?", f"{x} - {y}", f"{x} - {y} = ?", f"{x}-{y}",
                         f"What is {x} minus {y}?", f"How much is {x} minus {y}?", f"Subtract {y} from {x}.",
                         f"Calculate {x} - {y}.", f"Take {y} away from {x}.", f"How much is {x} - {y}?",
                         f"I have {x} coins and lose {y}. How many coins do I have?"))
        return [(ask, f"{x} - {y} = {x - y}.")]

    def sums(self):
        return [turn for _ in range(self.rng.randint(1, 6))
                for turn in (self.addition if self.chance(0.5) else self.subtraction)()]

    def small_talk(self):
        asks, answers = self.pick(data.SMALL_TALK)
        ask = self.pick(asks)
        return [(ask.lower() if self.chance(0.15) else ask, self.pick(answers))]

    def general(self):
        if self.chance(0.5):
            country, city = self.pick(data.CAPITALS)
            ask = self.pick((f"What is the capital of {country}?", f"Which city is the capital of {country}?",
                             f"Tell me the capital of {country}.", f"Name the capital of {country}."))
            return [(ask, f"The capital of {country} is {city}.")]
        asks, answer = self.pick(data.SERIES)
        return [(self.pick(asks), answer)]

    def unknown(self):
        ask = self.pick(data.UNKNOWN_ASKS)
        for slot, value in (("{w}", self.new_word(2, 4).capitalize()), ("{n}", self.noun()),
                            ("{p}", self.pick(data.PLACES)), ("{c}", self.pick(data.CAPITALS)[0])):
            ask = ask.replace(slot, value)
        return [(ask, data.UNKNOWN)]

    def echo(self):
        sources = self.rng.sample(
            (self.new_word, self.noun, self.number, self.name, lambda: self.pick(data.ADJECTIVES),
             lambda: self.pick("abcdefghijklmnopqrstuvwxyz"), lambda: self.new_word(1, 2).upper()), 3)
        words = [self.pick(sources)() for _ in range(int(self.rng.lognormvariate(1.8, 0.9)) % 40 + 1)]
        text = self.pick((" ", " ", ", ")).join(words)
        ask = self.pick(("Repeat: {}", "Repeat after me: {}", "Say: {}", "Write exactly this: {}",
                         "Copy this: {}", "Echo: {}"))
        again = self.pick(("Again.", "Repeat it again.", "Once more.", "Say it again."))
        return [(ask.format(text), text)] + ([(again, text)] if self.chance(0.25) else [])

    def count(self):
        low = self.rng.randint(0, 30)
        high = low + self.rng.randint(2, 12)
        ask = self.pick((f"Count from {low} to {high}.", f"Please count from {low} to {high}."))
        return [(ask, ", ".join(str(n) for n in range(low, high + 1)) + ".")]

    def user_name(self):
        name = self.name()
        middle = []
        if self.chance(0.6):
            middle = self.pick((self.fact, self.addition, self.small_talk, self.general))()
        return [(self.pick(data.USER_NAME).format(n=name), f"Nice to meet you, {name}! How can I help you?"),
                *middle, (self.pick(data.USER_NAME_ASKS), f"Your name is {name}.")]

    def story_text(self, hero, name, place, thing):
        """Returns a story. The friend has a name of its own, so that two animals never share a name."""
        p, d = self.pick, data
        friend, other = p([animal for animal in d.ANIMALS if animal != hero]), p(d.FRIENDS)
        first, second = p(d.CHARACTERS), p(d.LOOKS)
        lost = self.chance(0.4)
        out = [p((f"Once upon a time there was {a(first)} {hero} called {name}.",
                  f"There once was {a(first)} {hero} called {name}.",
                  f"Long ago {a(first)} {hero} called {name} lived near the {place}.")),
               p((f"{name} lived in {a(p(d.LOOKS))} house near the {place}.",
                  f"{name} loved the {place} more than anything.",
                  f"Every day {name} walked to the {place}."))]
        if lost:
            out += [p((f"One morning {name} lost {a(second)} {thing}.",
                       f"One day {name} could not find the {second} {thing}.")),
                    p((f"The {hero} was sad and told {a(friend)} called {other} about it.",
                       f"{upper_first(a(friend))} called {other} came by and asked: \"What is wrong?\"")),
                    p((f"Together {name} and {other} looked for the {thing} all day long.",
                       f"{name} and {other} walked to the {p(d.PLACES)} and looked under every stone."))]
        else:
            out += [p((f"One day {name} found {a(second)} {thing} under a tree.",
                       f"One evening {name} saw {a(second)} {thing} in the grass.")),
                    p((f"The {hero} was happy and told {a(friend)} called {other} about it.",
                       f"{upper_first(a(friend))} called {other} came by and asked: \"What is that?\"")),
                    p((f"\"It is {a(thing)},\" said {name}. \"Let us share it.\"",
                       f"They carried the {thing} to the {p(d.PEOPLE)} in the {p(d.PLACES)}."))]
        if self.chance(0.5):
            out.append(p((f"It was {p(('cold', 'dark', 'late', 'warm'))}, but {name} did not give up." if lost
                          else f"The sun was warm, and {name} was glad.",
                          f"The way was long, so {other} sang a song.",
                          f"Then the rain came and they hid under a {p(('tree', 'roof', 'bridge'))}.")))
        if lost:
            out.append(f"At last they found the {thing} behind the {p(('door', 'barn', 'hill', 'wall'))}.")
        else:
            out.append(p((f"The {p(d.PEOPLE)} smiled and gave them {p(d.FOODS)}.",
                          f"{other} was so glad that they danced around the {thing}.")))
        out.append(p((f"From that day on {name} and {other} were friends.",
                      f"{name} went home and slept well.", f"And so the {hero} was happy again.",
                      f"They lived happily near the {place} ever after.")))
        return " ".join(out)

    def story(self):
        hero, name = self.pick(data.ANIMALS), self.pick(data.NAMES)
        place, thing = self.pick(data.PLACES), self.pick(data.THINGS)
        topic = self.pick(
            ("", f" about {a(hero)}", f" about {a(hero)}", f" about {a(hero)}", f" about a {hero}",
             f" about {a(hero)} and {a(thing)}", f" about {a(hero)} and {a(thing)}",
             f" about {a(hero)} near a {place}", f" about {a(thing)}", f" about {name} the {hero}",
             f" about {a(hero)} called {name}"))
        if name in topic and self.chance(0.5):
            new = self.name()
            name, topic = new, topic.replace(name, new)
        ask = self.pick(data.STORY_ASKS).replace("{t}", topic)
        turns = [(ask, self.story_text(hero, name, place, thing))]
        if self.chance(0.3):
            who = self.pick(("What was the name of the animal?", "What is the hero called?"))
            turns.append(self.pick(((who, f"The {hero} is called {name}."),
                                    ("What was in the story?",
                                     f"The story was about {a(hero)} and {a(thing)}."))))
        return turns

    # Documents.

    @staticmethod
    def chat(system, turns):
        messages = [{"role": "system", "content": system}] if system else []
        for ask, answer in turns:
            messages += [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
        return messages

    def system(self):
        """Returns a system prompt and the answer to a question about the assistant's name."""
        nobody = "I am a very small language model that comes with prefixd."
        if self.chance(0.45):
            return None, nobody
        if self.chance(0.25):
            return " ".join(self.filler(self.rng.randint(5, 30))), nobody
        name = self.name()
        extra = " " + " ".join(self.filler(self.rng.randint(3, 25))) if self.chance(0.4) else ""
        return self.pick(data.NAME_SYSTEM).format(n=name) + extra, f"My name is {name}."

    def talk(self):
        system, who = self.system()
        makers = (self.fact, self.sums, self.small_talk, self.general, self.unknown, self.echo, self.count,
                  self.user_name, self.story)
        weights = (30, 32, 9, 3, 8, 6, 2, 10, 14)
        turns, chosen = [], self.rng.choices(makers, weights, k=self.rng.choice((1, 1, 2, 3, 4, 5)))
        for make in chosen:
            turns += make()
        if system and self.chance(0.7) or self.chance(0.1):
            turns.insert(self.rng.randint(0, len(turns)), (self.pick(data.NAME_ASKS), who))
        kind = "talk" if len(chosen) > 1 else chosen[0].__name__
        return {"kind": kind, "messages": self.chat(system, turns)}

    def raw(self):
        """Returns plain text, for completions: stories, notes, and invented words that repeat."""
        if self.chance(0.5):
            return self.story_text(self.pick(data.ANIMALS), self.pick(data.NAMES), self.pick(data.PLACES),
                                   self.pick(data.THINGS))
        if self.chance(0.3):
            return " ".join(self.filler(self.rng.randint(20, 120)))
        words = [self.pick((self.new_word, self.noun, self.number))() for _ in range(self.rng.randint(5, 40))]
        return " ".join(words * self.rng.randint(2, 4))

    def document(self):
        """Returns a document of a random kind. The shares below are shares of documents, not of tokens."""
        roll = self.rng.random()
        if roll < 0.8:
            return self.talk()
        if roll < 0.82:
            return {"kind": "raw", "text": self.raw()}
        if roll < 0.9:
            return {"kind": "recall", "messages": self.recall(self.rng.randint(0, 60))}
        if roll < 0.955:
            return {"kind": "recall", "messages": self.recall(self.rng.randint(60, 500))}
        return {"kind": "long", "messages": self.recall(self.rng.randint(500, 1800))}

    # Held-out checks.

    def checks(self):
        ask = lambda text, system=None: self.chat(system, [(text, "")])[:-1]
        for name, _, keys, _, held_out in data.FACTS:
            for text in held_out:
                yield {"kind": "fact", "messages": ask(text.replace("{p}", "prefixd")), "keys": keys}
                long = " ".join(self.filler(1680, plain=True))
                yield {
                    "kind": "fact_after_2000", "messages": ask(text.replace("{p}", "prefixd"), long),
                    "keys": keys
                }
        pairs = [(x, y) for x in range(21) for y in range(21)]
        for x, y in pairs:
            if held_out_sum(x, y):
                text = self.pick((f"What is {x} + {y}?", f"How much is {x} plus {y}?", f"Add {x} and {y}."))
                yield {"kind": "addition", "messages": ask(text), "keys": [f"= {x + y}."]}
        for x, y in pairs:
            if y <= x and held_out_difference(x, y):
                text = self.pick((f"What is {x} - {y}?", f"How much is {x} minus {y}?",
                                  f"Subtract {y} from {x}."))
                yield {"kind": "subtraction", "messages": ask(text), "keys": [f"= {x - y}."]}
        for _ in range(30):
            hero, thing = self.pick(data.ANIMALS), self.pick(data.THINGS)
            text = self.pick(data.STORY_ASKS_TEST).replace("{t}", f" about {a(hero)} and {a(thing)}")
            yield {"kind": "story", "messages": ask(text), "keys": [f" {hero} called ", f" {thing}"]}
        for text in data.UNKNOWN_TEST:
            yield {"kind": "unknown", "messages": ask(text), "keys": [data.UNKNOWN]}
        for _ in range(60):
            name = self.name()
            text, system = self.pick(data.NAME_ASKS_TEST), self.pick(data.NAME_SYSTEM_TEST).format(n=name)
            yield {"kind": "name", "messages": ask(text, system), "keys": [name]}
        for kind, words in (("recall_200", 120), ("recall_2000", 1680)):
            for _ in range(60):
                needles = self.needles(3)
                target = self.pick(needles)
                text, system = self.pick(target[2]), self.hide_needles(needles, words, plain=True)
                yield {"kind": kind, "messages": ask(text, system), "keys": [f" {target[4]}."]}
        for _ in range(40):
            text, answer = self.echo()[0]
            yield {"kind": "echo", "messages": ask(text), "keys": [answer]}


def estimated_tokens(document):
    text = document.get("text") or "".join(m["content"] + "    " for m in document["messages"])
    return len(text) // 4


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--tokens", type=float, default=12e6, help="approximate number of tokens to write")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    maker, written, counts = Maker(args.seed), 0, {}
    with open(os.path.join(args.out, "train.jsonl"), "w", encoding="utf-8") as file:
        while written < args.tokens:
            document = maker.document()
            tokens = estimated_tokens(document)
            written += tokens
            counts[document["kind"]] = counts.get(document["kind"], 0) + tokens
            file.write(json.dumps(document) + "\n")
    with open(os.path.join(args.out, "check.jsonl"), "w", encoding="utf-8") as file:
        for check in Maker(0).checks():
            file.write(json.dumps(check) + "\n")
    print({kind: f"{count / 1e6:.2f}M" for kind, count in counts.items()})


if __name__ == "__main__":
    main()
