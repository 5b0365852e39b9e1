"""Word lists and phrasings from which make_corpus.py builds conversations. All were written for prefixd."""

from corpus_facts import FACTS

# Phrases that name a fact. The frames below make questions from them.
TOPICS = {
    "what": ["prefixd", "the idea of prefixd", "the purpose of this daemon"],
    "radix": [
        "the radix tree", "the data structure", "the tree of prefixes", "looking up prefixes",
        "finding a cached prefix"
    ],
    "tiers": [
        "the tiers", "the cache tiers", "the place of the blocks", "where blocks are kept",
        "the storage of the cache"
    ],
    "block": [
        "the block size", "the size of a block", "the tokens of a block", "one block",
        "the number of tokens per block"
    ],
    "port": [
        "the port", "the default port", "the port number", "the listening address", "connecting to the server"
    ],
    "language": [
        "the programming language", "the language of the source code", "the language it is written in", "C++"
    ],
    "api": ["the API", "the APIs", "the OpenAI API", "the HTTP interface", "clients and applications"],
    "restart": [
        "a restart", "the cache after a restart", "restarting", "keeping the cache over a restart",
        "a warm start"
    ],
    "rocksdb": [
        "RocksDB", "the database", "the disk tier", "storing blocks on disk", "the database of the disk tier"
    ],
    "metrics": ["the metrics", "Prometheus", "monitoring", "the metrics path", "watching the daemon"],
    "hash": [
        "the hash", "xxHash", "the hash function", "hash collisions", "hashing of blocks", "verifying a hit"
    ],
    "exact": [
        "exact answers", "a changed answer", "the effect of a hit on the answer", "the answer after a hit"
    ],
    "full": ["overload", "too many requests", "a full queue", "the limits", "status 429", "status 503"],
    "start": ["starting", "the start command", "running it", "the command line", "launching the daemon"],
    "ready": [
        "the health check", "the path /ready", "readiness", "checking that it is ready", "the ready check"
    ],
    "cached_tokens": [
        "cached tokens", "the field cached_tokens", "the usage field", "seeing a cache hit",
        "counting cached tokens"
    ],
    "gpu": ["the GPU", "CUDA", "the hardware", "running on a CPU", "running without a GPU", "graphics cards"],
    "formats": [
        "model formats", "the formats", "GGUF files", "Hugging Face folders", "loading a model", "model files"
    ],
    "stop": [
        "SIGTERM", "stopping", "the shutdown", "shutting down", "the signal SIGTERM", "stopping the daemon"
    ],
    "prefix": ["a prefix", "the word prefix", "a prompt prefix", "the meaning of the word prefix"],
}
TOPIC_FRAMES = ["Tell me about {t}.", "{t}?", "{t}", "What about {t}?", "Explain {t}.",
                "I have a question about {t}.",
                "Say something about {t}.", "What do you know about {t}?", "Give me a fact about {t}.",
                "Please explain {t}.",
                "What can you tell me about {t}?", "How is it with {t}?", "I want to know more about {t}.",
                "Tell me something about {t}.",
                "Can you explain {t}?", "Do you know anything about {t}?", "How about {t}?",
                "In {p}, what about {t}?",
                "What does {p} say about {t}?", "And {t}?"]

SUBJECTS = ["prefixd"] * 12 + ["Prefixd", "the daemon", "this daemon", "the server", "this server"]
LEADS = [""] * 14 + ["Hi. ", "Hello! ", "Please tell me: ", "One question: ", "Quick question. ",
         "I want to know: ", "Thanks. ",
                     "Next question: ", "Tell me, ", "Now, ", "Sorry, ", "Okay. ", "I am new here. ",
                     "Another question. "]
TAILS = [""] * 12 + [
    " Thanks.", " Please be brief.", " I am curious.", " Thank you!", " Please explain.", " Please."
]

SMALL_TALK = [
    (["Hi", "Hi!", "Hello", "Hello!", "Hey", "Hey!", "Hello there.", "Hi there!", "Good day.",
      "Greetings."], ["Hello! How can I help you?"]),
    (["Good morning.", "Good morning!"], ["Good morning! How can I help you?"]),
    (["Good evening.", "Good evening!"], ["Good evening! How can I help you?"]),
    (["How are you?", "How are you today?", "How do you do?", "Are you well?",
      "How is it going?"], ["I am well, thank you. How can I help you?"]),
    (["Thanks.", "Thank you.", "Thank you!", "Thanks a lot!", "Many thanks."], ["You are welcome!"]),
    (["Bye.", "Goodbye.", "Goodbye!", "See you later.", "Bye bye!",
      "Good night."], ["Goodbye! Have a nice day."]),
    ([
        "What can you do?", "What are you able to do?", "Help", "How can you help me?",
        "What should I ask you?"
    ], ["I can talk about prefixd, tell short stories, add small numbers and remember what you told me."]),
    ([
        "What are you?", "Are you a robot?", "Are you human?", "Are you a person?",
        "What kind of model are you?"
    ], ["I am a very small language model that comes with prefixd."]),
    (["Yes.", "Okay.", "Good.", "Fine.", "Great!", "I see.", "Nice.",
      "All right."], ["Good. What else can I do for you?"]),
    (["Can you help me?", "I need help.", "Please help me.",
      "I have a question."], ["Of course. What do you need?"]),
    (["Test", "test", "This is a test.", "Testing.", "ping"], ["The test works. How can I help you?"]),
]
UNKNOWN = "I do not know that. I am a very small model."
# {w} stands for an invented word, {n} a noun, {p} a place, {c} a country.
UNKNOWN_ASKS = ["Who is {w}?", "What does {w} mean?", "Where is {w}?", "Who wrote {w}?", "How old is {w}?",
                "How far is {w}?", "Who invented {w}?", "What is the history of {w}?", "When did {w} happen?",
                "How do I cook {w}?", "Who won the game?", "Who won the match yesterday?", "Who won the war?",
                "What is the weather like today?", "Will it rain tomorrow?", "Is it cold in {c}?",
                "What time is it?", "What day is it today?", "Who is the president of {c}?",
                "Who is the king of {c}?", "How many people live in {c}?",
                "Which language do people speak in {c}?", "How large is {c}?", "What is the meaning of life?",
                "How do I make {n}?", "How do I repair a {n}?", "How much does a {n} cost?",
                "Where can I buy a {n}?", "How old is the {n}?", "Who built the {p}?",
                "How far is it to the {p}?", "Who painted the picture?", "Who wrote the book?",
                "What is your favourite song?", "Do you like {n}?", "What is the best film?",
                "Who is the richest person?", "How high is the mountain?", "How deep is the sea?",
                "How fast is light?", "Why is the grass green?", "What is the price of {n}?",
                "How does a {n} work?", "Can you write a program?", "Write a poem about a {n}.",
                "Translate {n} into French.", "What is a {n}?", "What is the news today?",
                "Who was the first man on the moon?", "How many stars are there?",
                "What is the square root of {w}?", "Who discovered {c}?", "How do I get to {w}?",
                "Is {w} a good book?", "Who sang {w}?", "What should I eat today?", "Which {n} is the best?",
                "How long does a {n} live?", "What do you think about {c}?", "Why do people like {n}?",
                "Is {n} good for me?", "Why is the {n} so {w}?", "Why is the sea so large?",
                "Who runs the {p}?", "How many {n} are in the {p}?", "Which {n} should I buy?",
                "Who is the mother of {w}?", "What happened in {c}?", "What is {w}?", "How heavy is a {n}?",
                "Why does it rain?", "Who made the first {n}?", "When was {w} born?",
                "How many people live in the city?"]
UNKNOWN_TEST = ["Who won the football game yesterday?", "What is the weather in Berlin?",
                "Who is the queen of England?", "How many people live in Paris?", "Why is the sky blue?",
                "How do I bake a cake?", "Who painted the Mona Lisa?", "How far away is the sun?",
                "What is quantum physics?", "Who wrote Hamlet?", "How tall is the tower?",
                "How old is the world?", "What should I cook tonight?", "What is the best book?",
                "Where can I buy a new hat?", "Who invented the telephone?", "When did the war end?",
                "How much is a ticket to Rome?", "Which car is the fastest?", "How long does a dog live?"]
# {t} stands for an empty string or a topic such as " about a fox".
STORY_ASKS = ["Tell me a story{t}.", "Write a story{t}.", "Can you tell me a story{t}?",
              "Write a short story{t}.", "Please tell me a story{t}.", "Please write a story{t}.",
              "A story{t}, please.", "Tell a story{t}.", "I want to hear a story{t}.",
              "Tell me a short story{t}.", "Can you write a story{t}?", "Story{t}", "Make up a story{t}.",
              "I would like a story{t}.", "Please write a short story{t}.", "tell me a story{t}",
              "Now tell me a story{t}.", "Could you tell me a story{t}?", "Give me a story{t}.",
              "Do you know a story{t}?"]
STORY_ASKS_TEST = ["May I hear a story{t}?", "Write me a story{t}.", "Please tell me a little story{t}."]

NAME_ASKS = ["What is your name?", "Who are you?", "Tell me your name.", "What are you called?",
             "May I ask your name?",
             "How should I call you?", "What name do you have?", "Please tell me your name.", "And you are?",
             "Introduce yourself.", "Who am I talking to?", "Say your name."]
NAME_ASKS_TEST = ["What's your name?", "Can you tell me your name?", "What is your name, please?"]
NAME_SYSTEM = ["You are {n}, a helpful assistant.", "You are {n}.", "Your name is {n}.",
               "You are an assistant called {n}.",
               "You are a friendly assistant named {n}.", "You are {n}, the assistant of a small company.",
               "Your name is {n}. You help people.", "The assistant is called {n}.", "Act as {n}.",
               "You are {n}, an assistant that answers questions about prefixd."]
NAME_SYSTEM_TEST = ["You are a helpful assistant. Your name is {n}.", "You are {n}, a polite assistant."]
USER_NAME = ["My name is {n}.", "I am {n}.", "Hello, I am {n}.", "Hi, my name is {n}.", "People call me {n}."]
USER_NAME_ASKS = ["What is my name?", "Do you know my name?", "Who am I?", "Do you remember my name?",
                  "How am I called?"]

NAMES = """Mira Tomas Lena Oskar Ida Bruno Clara Felix Greta Hugo Irma Jonas Karin Linus Marta Nils Olga Paul
Rosa Simon Tilda Ugo Vera Willem Yara Zeno Anton Berta Carlo Dora Emil Frida Gustav Hanna Ivan Julia Kurt
Luisa Max Nora Otto Petra Robin Selma Theo Ursula Viktor Wanda Adam Bella Cora Daniel Elsa Finn Gloria Henry
Iris Jakob Kira Leo Mona Nico""".split()
SYLLABLES = """ba be bi bo bu da de di do du fa fe fi ga ge gi go ka ke ki ko ku la le li lo lu ma me mi mo mu
na ne ni no nu pa pe pi po ra re ri ro ru sa se si so su ta te ti to tu va ve vi vo za ze zo zu ar an al el en
er in il on or us qua que qui wa we wi wo ya yo xa cha chi sha sho tha tho bra bri gre tri dra fla klo plo
ster stan lan mon ton ber den dor fin gar hal har ho hu ja je jo ju jan kar len mar nor per ren sam tin
win""".split()
ENDINGS = ["", "", "n", "r", "l", "s", "k", "x", "th", "m"]

ANIMALS = """fox bear cat dog rabbit owl mouse frog horse duck goat hen wolf deer hedgehog squirrel turtle
crow swan donkey badger otter snail spider whale sheep pig lion""".split()
ADJECTIVES = """old young small large red green blue yellow quiet loud happy sad brave clever kind slow quick
warm cold bright dark soft round long short heavy light clean dusty empty strange simple gentle proud tired
hungry curious careful lonely golden silver wooden broken hidden wide narrow deep tall fresh sweet""".split()
CHARACTERS = """old young small large quiet happy brave clever kind quick gentle proud curious careful
lonely hungry""".split()
LOOKS = """old small large red green blue yellow heavy clean dusty strange simple golden silver wooden broken
round""".split()
FRIENDS = "Pip Tock Momo Bibi Zuzu Lulu Dodo Fips Kuku Tip".split()
RULES = [
    "the {person} who comes to the {place} first opens the {thing}.",
    "nobody may carry a {thing} into the {place}.",
    "whoever leaves the {place} last looks after the {thing}.",
    "the {thing} in the {place} belongs to the {person}.",
    "whoever comes to the {place} late washes the {thing}.",
    "the {person} counts every {thing} in the {place}.",
    "keep the {thing} away from the {person} of the {place}."
]
PLACES = """forest river village garden mountain lake meadow harbour castle mill bridge valley island market
barn hill beach tower kitchen library station school field orchard""".split()
THINGS = """key lamp apple book ball hat drum boat bell map stone letter basket clock mirror ring candle coin
flute kite cup ladder box chair door window table rope shoe bottle spoon blanket bag pen picture
wheel""".split()
FOODS = """bread soup plum cheese honey cake pear rice milk salad nut cherry potato carrot butter
tea""".split()
COLOURS = "red green blue yellow white black brown grey orange pink purple golden".split()
PEOPLE = """teacher baker farmer doctor sailor miller gardener painter driver singer writer tailor carpenter
shepherd captain guard neighbour child""".split()
VERBS_PAST = """found carried painted opened lost cleaned followed watched moved washed repaired sold bought
touched hid remembered needed liked missed counted""".split()
VERBS_NOW = """holds needs likes opens follows watches carries paints moves cleans finds hides counts keeps
brings sells shows covers touches repairs""".split()
TIMES = ["in the morning", "in the evening", "at noon", "at night", "every day", "on Monday", "on Sunday",
         "in spring", "in winter",
         "after lunch", "before sunrise", "once a week", "all day", "in summer", "in autumn", "on Friday"]
GUIDES = [
    "Be polite and brief.", "Answer in short sentences.", "Do not use difficult words.",
    "Always tell the truth.", "Be kind to every user.", "If you do not know something, say so.",
    "Never share secrets.", "Follow the rules with care.", "Think before you answer.", "Use simple language.",
    "Keep your answers short.", "Stay calm and friendly.", "Help the user with every question.",
    "Read the whole text before you answer.", "Do not repeat the question.",
    "Answer the question of the user.", "The user may ask about anything in this text.",
    "Write clear sentences.", "Give one answer to each question.", "The following notes may help you.",
    "Here is some background for you.", "You are a helpful assistant.", "You answer questions about the text."
]
PREFIXD_NOTES = [
    "The cache keeps the blocks of earlier prompts.", "A long prompt takes more time than a short one.",
    "The server counts the tokens of each request.",
    "Two prompts with the same beginning share their blocks.",
    "The first request fills the cache and the second one reads it.",
    "Blocks move from memory to disk and back.", "A request waits in the queue until there is room.",
    "The scheduler builds one batch for every step.", "The tokenizer turns text into numbers.",
    "The sampler picks the next token.", "Old blocks leave the cache when new ones need the room.",
    "The operators watch the daemon all day."
]
CAPITALS = [("France", "Paris"), ("Germany", "Berlin"), ("Italy", "Rome"), ("Spain", "Madrid"),
            ("Austria", "Vienna"), ("Poland", "Warsaw"), ("Norway", "Oslo"), ("Greece", "Athens"),
            ("Japan", "Tokyo"), ("Egypt", "Cairo"), ("England", "London"), ("Portugal", "Lisbon")]
SERIES = [
    (["Name the days of the week.", "List the days of the week.",
      "What are the days of the week?"], "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday."),
    (["Name the months.", "List the months of the year.", "What are the months of the year?"],
     "January, February, March, April, May, June, July, August, September, October, November, December."),
    (["Say the alphabet.", "What is the alphabet?",
      "List the letters of the alphabet."], "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z"),
    (["Name the four seasons.", "What are the seasons?",
      "List the seasons."], "Spring, summer, autumn, winter.")
]
