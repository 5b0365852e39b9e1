"""The conversations of make_corpus.py about a text in which facts ("needles") are hidden."""

import corpus_data as data


def upper_first(text):
    return text[0].upper() + text[1:]


class RecallMaker:
    """The part of Maker in make_corpus.py that makes needles. It uses the generator and the words of Maker.

    A needle is (sentence, questions, held-out questions, answer, key, the part that makes it unique).
    """

    def needle(self, name):
        """Returns a random needle about the person `name`."""
        p, d = self.pick, data
        thing, colour, kind = p(d.THINGS), p(d.COLOURS), self.rng.randrange(9)
        if kind == 0:
            what, value = f"the code of the {colour} {thing}", self.number()
        elif kind == 1:
            what = p(("the password", "the secret word", "the magic word", "the code word"))
            value = self.new_word()
        elif kind == 2:
            what, value = f"the favourite food of {name}", p(d.FOODS)
        elif kind == 3:
            what, value = f"the {thing} of {name}", colour
            return (f"The {thing} of {name} is {value}.",
                    [f"What colour is {what}?", f"Which colour has {what}?", f"Tell me the colour of {what}.",
                     f"What is the colour of {what}?", f"Do you know which colour {what} has?"],
                    [f"What colour does {what} have?"], f"The {thing} of {name} is {value}.", value, what)
        elif kind == 4:
            animal, value = p(d.ANIMALS), self.name()
            what = f"the {animal} of {name}"
            return (f"The {animal} of {name} is called {value}.",
                    [f"What is {what} called?", f"What is the name of {what}?",
                     f"Tell me the name of {what}.", f"What name has {what}?", f"How is {what} called?"],
                    [f"Which name does {what} have?"], f"The {animal} of {name} is called {value}.", value,
                    what)
        elif kind == 5:
            value = p(d.PLACES)
            return (f"{name} lives in the {value}.",
                    [f"Where does {name} live?", f"In which place does {name} live?",
                     f"Tell me where {name} lives.", f"Do you know where {name} lives?",
                     f"What is the home of {name}?"],
                    [f"In what place does {name} live?"], f"{name} lives in the {value}.", value, name)
        elif kind == 6:
            city, value = self.new_word().capitalize(), str(self.rng.randint(1, 24))
            return (f"The train to {city} leaves at {value}.",
                    [f"When does the train to {city} leave?", f"At what time does the train to {city} leave?",
                     f"Tell me when the train to {city} leaves.", f"The train to {city} leaves when?"],
                    [f"At which hour does the train to {city} leave?"],
                    f"The train to {city} leaves at {value}.", value, city)
        elif kind == 7:
            what, value = f"the number of {name}", self.number()
        else:
            what = f"the {p(('city', 'street', 'boss', 'friend', 'house', 'company'))} of {name}"
            value = self.new_word().capitalize()
        return (f"{upper_first(what)} is {value}.",
                [f"What is {what}?", f"Tell me {what}.", f"Please tell me {what}.",
                 f"What is {what}, please?", f"Do you remember {what}?",
                 f"According to the text, what is {what}?", f"Say {what}.", f"I forgot {what}. What is it?",
                 f"I want to know {what}.", f"Do you know {what}?", f"{what}?"],
                [f"Can you tell me {what}?", f"I need to know {what}."],
                f"{upper_first(what)} is {value}.", value, what)

    def needles(self, count):
        """Returns needles. They are sometimes about few people, so the person and the object both matter."""
        people = [self.name() for _ in range(count // 3)] if count > 8 and self.chance(0.25) else None
        out, seen = [], set()
        while len(out) < count:
            needle = self.needle(self.pick(people) if people else self.name())
            if needle[-1] not in seen:
                seen.add(needle[-1])
                out.append(needle)
        return out

    def hide_needles(self, needles, words, plain=False):
        """Returns a text of at least `words` words, with the sentences of the needles at random places."""
        sentences = self.filler(words, plain)
        for needle in needles:
            sentences.insert(self.rng.randint(0, len(sentences)), needle[0])
        return self.pick((" ", " ", " ", "\n")).join(sentences)

    def recall(self, words):
        """Returns a conversation about a long text with needles, in the system prompt or in the first message
        of the user. It has many questions, so that one document of thousands of tokens trains a dozen
        lookups."""
        most = 4 + words // 12 if words < 200 else 22
        needles = self.needles(self.rng.randint(3, min(most, 22)))
        text = self.hide_needles(needles, words)
        questions = self.rng.randint(2, 6) if words < 60 else self.rng.randint(6, 14)
        asked = self.rng.sample(needles, min(len(needles), questions))
        turns = [(self.pick(n[1]), n[3]) for n in asked]
        for _ in range(self.rng.randint(0, 2) if words < 300 else self.rng.randint(1, 6)):
            other = self.pick((self.fact, self.fact, self.fact, self.sums, self.small_talk))()[0]
            turns.insert(self.rng.randint(0, len(turns)), other)
        if self.chance(0.65):
            if self.chance(0.3):
                name = self.name()
                text = self.pick(data.NAME_SYSTEM).format(n=name) + " " + text
                turns.insert(self.rng.randint(0, len(turns)),
                             (self.pick(data.NAME_ASKS), f"My name is {name}."))
            return self.chat(text, turns)
        first, answer = turns[0]
        return self.chat(None, [(text + self.pick((" ", "\n", "\n\n")) + first, answer)] + turns[1:])
