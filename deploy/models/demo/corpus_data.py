"""Word lists, facts and phrasings from which make_corpus.py builds conversations. All of it is our own.

A fact is (name, answer, keys, train phrasings, held-out phrasings). An answer counts as right when it holds
every key. Held-out phrasings are never trained on. `{p}` stands for the daemon's name.
"""

FACTS = [
    ("what", "prefixd is a daemon that serves a language model and never computes the same prompt prefix twice.",
     ["daemon", "never computes", "twice"],
     ["What is {p}?", "What does {p} do?", "Explain {p}.", "Describe {p}.", "What is {p} for?", "Tell me about {p}.",
      "What can you say about {p}?", "Give me a short description of {p}.", "Why does {p} exist?", "Introduce {p}.",
      "I have never heard of {p}. What is it?", "Summarise {p} in one sentence.", "What kind of program is {p}?",
      "In one sentence, what does {p} do?", "What is the idea of {p}?", "What is the purpose of {p}?"],
     ["What exactly is {p}?", "Can you describe {p} in one sentence?", "What sort of thing is {p}?", "Tell me what {p} does."]),
    ("radix", "prefixd keeps the blocks of all prompts in a radix tree, so that prompts with the same beginning share them.",
     ["radix tree", "share"],
     ["How does {p} find a prefix?", "What data structure does {p} use?", "Which tree does {p} use?",
      "How does the prefix cache work?", "How does {p} find cached blocks?", "Where does {p} look up a prompt?",
      "How are cached prefixes organised?", "What is the radix tree for?", "How does {p} share prompts?",
      "Which structure holds the cached prefixes?", "How does {p} match a prompt against the cache?",
      "What tree is inside {p}?", "How does the cache of {p} work?"],
     ["Which data structure holds the prefixes in {p}?", "How does {p} look up a cached prefix?",
      "What kind of tree does {p} use?"]),
    ("tiers", "prefixd keeps cached blocks in device memory, in host memory and on disk.",
     ["device", "host", "disk"],
     ["Where does {p} keep the cache?", "Which tiers does {p} have?", "Where are cached blocks stored?",
      "What are the tiers of {p}?", "Where does {p} store the blocks?", "In which places can a block be?",
      "How many tiers does the cache have?", "Name the tiers of the cache.", "Where do the blocks live?",
      "List the cache tiers.", "Which memory does the cache use?", "Where is the cache kept?"],
     ["What tiers does the cache of {p} have?", "Where are the blocks of {p} kept?", "Where does {p} store its cache?"]),
    ("block", "A block holds the keys and values of 16 tokens by default.",
     ["16 tokens"],
     ["What is a block?", "How large is a block?", "How many tokens are in a block?", "What is the block size?",
      "How big is a block in {p}?", "What does a block hold?", "How many tokens does one block hold?",
      "What is the default block size?", "Tell me the block size of {p}.", "What is a block in {p}?",
      "How many tokens make a block?", "What does block mean in {p}?"],
     ["How many tokens fit in one block?", "What block size does {p} use?", "How many tokens does a block of {p} have?"]),
    ("port", "prefixd listens on port 8080 of this machine by default.",
     ["8080"],
     ["Which port does {p} use?", "On which port does {p} listen?", "What is the default port?", "Where does {p} listen?",
      "What port do I connect to?", "Which address does {p} listen on?", "What is the port of {p}?",
      "How do I connect to {p}?", "Which port is the default?", "What port number does {p} have?",
      "At which port can I reach {p}?", "Tell me the port of {p}."],
     ["What port does {p} listen on?", "What is the default port of {p}?", "Which port should I connect to?"]),
    ("language", "prefixd is written in C++20.",
     ["C++20"],
     ["In which language is {p} written?", "What language is {p} written in?", "Is {p} written in Python?",
      "Which programming language does {p} use?", "What is {p} written in?", "Is {p} a Rust program?",
      "Which language did the authors of {p} use?", "What programming language is used for {p}?",
      "In what language was {p} programmed?", "Tell me the programming language of {p}.", "Is {p} written in C++?"],
     ["Which programming language is {p} written in?", "What language was used to write {p}?",
      "Which language is {p} programmed in?"]),
    ("api", "prefixd speaks the OpenAI API and the Anthropic API over HTTP.",
     ["OpenAI", "Anthropic"],
     ["Which API does {p} speak?", "What API does {p} have?", "Is {p} compatible with OpenAI?", "Which APIs are supported?",
      "How do applications talk to {p}?", "Which protocol does {p} speak?", "Can I use the OpenAI client with {p}?",
      "Which clients work with {p}?", "What interface does {p} offer?", "How does a program send requests to {p}?",
      "Does {p} support the Anthropic API?", "What APIs does {p} offer?", "Name the APIs of {p}."],
     ["Which APIs does {p} support?", "What API can applications use with {p}?", "Does {p} speak the OpenAI API?"]),
    ("restart", "After a restart prefixd finds its cache again on disk, so it starts warm.",
     ["restart", "finds its cache", "disk"],
     ["What happens after a restart?", "Does the cache survive a restart?", "Is the cache lost when {p} stops?",
      "What happens when I restart {p}?", "Does {p} start cold after a restart?", "What happens to the cache after a crash?",
      "Is the cache kept over a restart?", "Will the cache be empty after a restart?", "Is the cache gone after a reboot?",
      "What happens to the cache when {p} restarts?", "Does a restart clear the cache?"],
     ["Does {p} keep its cache after a restart?", "What does {p} do with the cache after a restart?",
      "Is the cache lost after a restart of {p}?"]),
    ("rocksdb", "prefixd uses RocksDB for the disk tier.",
     ["RocksDB"],
     ["Which database does {p} use?", "What does the disk tier use?", "Does {p} use a database?", "What is RocksDB for?",
      "Which library writes the blocks to disk?", "Which store is below the disk tier?", "What database is inside {p}?",
      "Name the database of {p}.", "How does {p} write to disk?", "What is used for the disk tier?",
      "Which database holds the disk tier?"],
     ["What database does {p} use?", "Which database is used for the disk tier?",
      "What does {p} use to store blocks on disk?"]),
    ("metrics", "prefixd reports its metrics to Prometheus at the path /metrics.",
     ["Prometheus", "/metrics"],
     ["Where are the metrics?", "How can I watch {p}?", "How do I monitor {p}?", "Does {p} have metrics?",
      "Which metrics system does {p} support?", "At which path are the metrics?", "Can I watch {p} with Prometheus?",
      "How do operators watch {p}?", "What is the path of the metrics?", "How do I see the metrics of {p}?",
      "Does {p} work with Prometheus?", "Where does {p} report its metrics?"],
     ["How can I monitor {p}?", "Where do I find the metrics of {p}?", "Which path shows the metrics?"]),
    ("hash", "prefixd hashes blocks with xxHash and then compares the tokens, because a hash alone proves nothing.",
     ["xxHash", "compares the tokens"],
     ["Which hash does {p} use?", "How does {p} hash blocks?", "What hash function does {p} use?", "Does {p} trust the hash?",
      "What happens when two hashes collide?", "What if there is a hash collision?", "How is a hit verified?",
      "How does {p} verify a hit?", "What is xxHash for?", "How are blocks hashed?", "Does {p} compare the tokens?",
      "Which hash function is used for blocks?"],
     ["What hash does {p} use for blocks?", "How does {p} deal with a hash collision?",
      "Which hash function does {p} use?"]),
    ("exact", "A cache hit never changes the answer, it only makes the answer faster.",
     ["never changes the answer"],
     ["Does a cache hit change the answer?", "Is the answer the same with the cache?", "Are cached answers exact?",
      "Can the cache change the answer?", "Will the answer differ with a cache hit?", "Is {p} exact?",
      "Does caching change the result?", "Do I get another answer when the cache is used?", "Is a cached answer different?",
      "Does the cache make answers worse?", "Is the output identical with the cache?"],
     ["Can a cache hit change the answer?", "Is the answer the same after a cache hit?",
      "Does the cache of {p} change the answer?"]),
    ("full", "When a limit is reached, prefixd answers with status 429 or 503 and does not grow.",
     ["429", "503"],
     ["What happens when {p} is full?", "What does {p} do under overload?", "Can {p} run out of memory?",
      "What happens when the queue is full?", "What happens when there are too many requests?", "Is {p} bounded?",
      "Which status does {p} return when it is busy?", "What happens when a limit is reached?",
      "How does {p} handle overload?", "What does {p} answer when it is overloaded?", "Are there limits in {p}?"],
     ["What does {p} do when the queue is full?", "Which status comes back when {p} is overloaded?",
      "What happens when {p} gets too many requests?"]),
    ("start", "Start it with the command: prefixd serve --model PATH",
     ["prefixd serve --model"],
     ["How do I start {p}?", "How do I run {p}?", "Which command starts {p}?", "How can I launch {p}?",
      "What is the command to start {p}?", "Show me how to start {p}.", "What do I type to run {p}?",
      "How is {p} started?", "Give me the command that starts {p}.", "How do I serve a model with {p}?"],
     ["How can I start {p}?", "What command do I use to run {p}?", "Which command runs {p}?"]),
    ("ready", "Ask the path /ready, which answers 200 when prefixd is ready and 503 when it is not.",
     ["/ready", "200"],
     ["How do I know that {p} is ready?", "Is there a health check?", "Which path tells that {p} is ready?",
      "How can I check that {p} is ready?", "What is the path /ready for?", "How do I test whether {p} is healthy?",
      "Where is the health check of {p}?", "How can a load balancer check {p}?", "How do I see if {p} is up?"],
     ["How can I see that {p} is ready?", "Which path is the health check of {p}?",
      "How do I check whether {p} is ready?"]),
    ("cached_tokens", "The field cached_tokens in the usage tells how many prompt tokens came from the cache.",
     ["cached_tokens", "usage"],
     ["How do I see a cache hit?", "How many tokens were cached?", "Where can I see the cached tokens?",
      "How do I know that the cache was used?", "Which field shows cache hits?", "How can I measure the cache hits?",
      "Where does the response tell about the cache?", "What is the field cached_tokens?",
      "Which field counts the cached tokens?", "How can I tell whether a prompt was cached?"],
     ["How can I see a cache hit?", "Which field tells the number of cached tokens?",
      "Where do I see how many tokens were cached?"]),
    ("gpu", "prefixd runs on a CPU, and on a GPU with CUDA.",
     ["CPU", "CUDA"],
     ["Does {p} need a GPU?", "Can {p} run on a CPU?", "Does {p} support CUDA?", "Which hardware does {p} run on?",
      "Can I run {p} without a GPU?", "Is a GPU required?", "What hardware do I need?", "Does {p} run on a GPU?",
      "Which devices does {p} support?", "On what hardware does {p} work?", "Do I need a graphics card for {p}?"],
     ["Does {p} work without a GPU?", "What hardware does {p} need?", "Can {p} use a GPU?"]),
    ("formats", "prefixd loads Hugging Face folders and GGUF files.",
     ["Hugging Face", "GGUF"],
     ["Which model formats does {p} load?", "What models can {p} load?", "Can {p} load GGUF?", "Which files can {p} read?",
      "What format must a model have?", "Can {p} load a Hugging Face model?", "Which models does {p} support?",
      "What kind of model files does {p} take?", "In which format are models loaded?", "Name the model formats of {p}."],
     ["Which model formats are supported by {p}?", "What model files can {p} load?",
      "Which formats can {p} load?"]),
    ("stop", "On SIGTERM prefixd finishes the running requests and then exits.",
     ["SIGTERM", "finishes the running requests"],
     ["How do I stop {p}?", "What happens on SIGTERM?", "How does {p} shut down?", "What does {p} do when it is stopped?",
      "Are running requests lost when {p} stops?", "What is the right way to stop {p}?", "How can I shut down {p}?",
      "What happens to requests at shutdown?", "Does {p} drain before it exits?", "How do I end {p}?"],
     ["How can I stop {p}?", "What does {p} do on SIGTERM?", "What happens when {p} shuts down?"]),
    ("prefix", "A prefix is the beginning of a prompt, and prompts often begin with the same text.",
     ["beginning of a prompt"],
     ["What is a prefix?", "What does prefix mean?", "What is a prompt prefix?", "Explain the word prefix.",
      "What do you mean by prefix?", "Tell me what a prefix is.", "Define prefix.", "What is meant by a prefix?",
      "Why are prefixes useful?"],
     ["What exactly is a prefix?", "Can you explain what a prefix is?", "What is the meaning of prefix?"]),
]

SUBJECTS = ["prefixd"] * 12 + ["Prefixd", "the daemon", "this daemon", "the server", "this server"]
LEADS = [""] * 14 + ["Hi. ", "Hello! ", "Please tell me: ", "One question: ", "Quick question. ", "I want to know: ", "Thanks. ",
                     "Next question: ", "Tell me, ", "Now, ", "Sorry, ", "Okay. ", "I am new here. ", "Another question. "]
TAILS = [""] * 12 + [" Thanks.", " Please be brief.", " I am curious.", " Thank you!", " Please explain.", " Please."]

SMALL_TALK = [
    (["Hi", "Hi!", "Hello", "Hello!", "Hey", "Hey!", "Hello there.", "Hi there!", "Good day.", "Greetings."],
     ["Hello! How can I help you?"]),
    (["Good morning.", "Good morning!"], ["Good morning! How can I help you?"]),
    (["Good evening.", "Good evening!"], ["Good evening! How can I help you?"]),
    (["How are you?", "How are you today?", "How do you do?", "Are you well?", "How is it going?"],
     ["I am well, thank you. How can I help you?"]),
    (["Thanks.", "Thank you.", "Thank you!", "Thanks a lot!", "Many thanks."], ["You are welcome!"]),
    (["Bye.", "Goodbye.", "Goodbye!", "See you later.", "Bye bye!", "Good night."], ["Goodbye! Have a nice day."]),
    (["What can you do?", "What are you able to do?", "Help", "How can you help me?", "What should I ask you?"],
     ["I can talk about prefixd, tell short stories, add small numbers and remember what you told me."]),
    (["What are you?", "Are you a robot?", "Are you human?", "Are you a person?", "What kind of model are you?"],
     ["I am a very small language model that comes with prefixd."]),
    (["Yes.", "Okay.", "Good.", "Fine.", "Great!", "I see.", "Nice.", "All right."], ["Good. What else can I do for you?"]),
    (["Can you help me?", "I need help.", "Please help me.", "I have a question."], ["Of course. What do you need?"]),
    (["Test", "test", "This is a test.", "Testing.", "ping"], ["The test works. How can I help you?"]),
]
UNKNOWN = "I do not know that. I am a very small model."
UNKNOWN_ASKS = ["Who is {w}?", "What does {w} mean?", "Where is {w}?", "Who wrote {w}?", "How old is {w}?", "How far is {w}?",
                "Who invented {w}?", "What is the history of {w}?", "When did {w} happen?", "How do I cook {w}?"]

NAME_ASKS = ["What is your name?", "Who are you?", "Tell me your name.", "What are you called?", "May I ask your name?",
             "How should I call you?", "What name do you have?", "Please tell me your name.", "And you are?",
             "Introduce yourself.", "Who am I talking to?", "Say your name."]
NAME_ASKS_TEST = ["What's your name?", "Can you tell me your name?", "What is your name, please?"]
NAME_SYSTEM = ["You are {n}, a helpful assistant.", "You are {n}.", "Your name is {n}.", "You are an assistant called {n}.",
               "You are a friendly assistant named {n}.", "You are {n}, the assistant of a small company.",
               "Your name is {n}. You help people.", "The assistant is called {n}.", "Act as {n}.",
               "You are {n}, an assistant that answers questions about prefixd."]
NAME_SYSTEM_TEST = ["You are a helpful assistant. Your name is {n}.", "You are {n}, a polite assistant."]
USER_NAME = ["My name is {n}.", "I am {n}.", "Hello, I am {n}.", "Hi, my name is {n}.", "People call me {n}."]
USER_NAME_ASKS = ["What is my name?", "Do you know my name?", "Who am I?", "Do you remember my name?", "How am I called?"]

NAMES = """Mira Tomas Lena Oskar Ida Bruno Clara Felix Greta Hugo Irma Jonas Karin Linus Marta Nils Olga Paul Rosa Simon
Tilda Ugo Vera Willem Yara Zeno Anton Berta Carlo Dora Emil Frida Gustav Hanna Ivan Julia Kurt Luisa Max Nora Otto Petra
Robin Selma Theo Ursula Viktor Wanda Adam Bella Cora Daniel Elsa Finn Gloria Henry Iris Jakob Kira Leo Mona Nico""".split()
SYLLABLES = """ba be bi bo bu da de di do du fa fe fi ga ge gi go ka ke ki ko ku la le li lo lu ma me mi mo mu na ne ni no nu
pa pe pi po ra re ri ro ru sa se si so su ta te ti to tu va ve vi vo za ze zo zu""".split()
ENDINGS = ["", "", "n", "r", "l", "s", "k", "x", "th", "m"]

ANIMALS = """fox bear cat dog rabbit owl mouse frog horse duck goat hen wolf deer hedgehog squirrel turtle crow swan donkey
badger otter snail spider whale sheep pig lion""".split()
ADJECTIVES = """old young small large red green blue yellow quiet loud happy sad brave clever kind slow quick warm cold bright dark
soft round long short heavy light clean dusty empty strange simple gentle proud tired hungry curious careful lonely golden
silver wooden broken hidden wide narrow deep tall fresh sweet""".split()
PLACES = """forest river village garden mountain lake meadow harbour castle mill bridge valley island market barn hill beach
tower kitchen library station school field orchard""".split()
THINGS = """key lamp apple book ball hat drum boat bell map stone letter basket clock mirror ring candle coin flute kite cup
ladder box chair door window table rope shoe bottle spoon blanket bag pen picture wheel""".split()
FOODS = """bread soup plum cheese honey cake pear rice milk salad nut cherry potato carrot butter tea""".split()
COLOURS = "red green blue yellow white black brown grey orange pink purple golden".split()
PEOPLE = """teacher baker farmer doctor sailor miller gardener painter driver singer writer tailor carpenter shepherd
captain guard neighbour child""".split()
VERBS_PAST = """found carried painted opened lost cleaned followed watched moved washed repaired sold bought touched hid
remembered needed liked missed counted""".split()
VERBS_NOW = """holds needs likes opens follows watches carries paints moves cleans finds hides counts keeps brings sells
shows covers touches repairs""".split()
TIMES = ["in the morning", "in the evening", "at noon", "at night", "every day", "on Monday", "on Sunday", "in spring", "in winter",
         "after lunch", "before sunrise", "once a week", "all day", "in summer", "in autumn", "on Friday"]
GUIDES = ["Be polite and brief.", "Answer in short sentences.", "Do not use difficult words.", "Always tell the truth.",
          "Be kind to every user.", "If you do not know something, say so.", "Never share secrets.", "Follow the rules with care.",
          "Think before you answer.", "Use simple language.", "Keep your answers short.", "Stay calm and friendly.",
          "Help the user with every question.", "Read the whole text before you answer.", "Do not repeat the question.",
          "Answer the question of the user.", "The user may ask about anything in this text.", "Write clear sentences.",
          "Give one answer to each question.", "The following notes may help you.", "Here is some background for you.",
          "You are a helpful assistant.", "You answer questions about the text."]
PREFIXD_NOTES = ["The cache keeps the blocks of earlier prompts.", "A long prompt takes more time than a short one.",
                 "The server counts the tokens of each request.", "Two prompts with the same beginning share their blocks.",
                 "The first request fills the cache and the second one reads it.", "Blocks move from memory to disk and back.",
                 "A request waits in the queue until there is room.", "The scheduler builds one batch for every step.",
                 "The tokenizer turns text into numbers.", "The sampler picks the next token.",
                 "Old blocks leave the cache when new ones need the room.", "The operators watch the daemon all day."]
CAPITALS = [("France", "Paris"), ("Germany", "Berlin"), ("Italy", "Rome"), ("Spain", "Madrid"), ("Austria", "Vienna"),
            ("Poland", "Warsaw"), ("Norway", "Oslo"), ("Greece", "Athens"), ("Japan", "Tokyo"), ("Egypt", "Cairo"),
            ("England", "London"), ("Portugal", "Lisbon")]
SERIES = [(["Name the days of the week.", "List the days of the week.", "What are the days of the week?"],
           "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday."),
          (["Name the months.", "List the months of the year.", "What are the months of the year?"],
           "January, February, March, April, May, June, July, August, September, October, November, December."),
          (["Say the alphabet.", "What is the alphabet?", "List the letters of the alphabet."],
           "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z"),
          (["Name the four seasons.", "What are the seasons?", "List the seasons."], "Spring, summer, autumn, winter.")]
