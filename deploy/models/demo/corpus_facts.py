"""The facts about prefixd that the demo model learns. make_corpus.py builds questions and answers from them.

A fact is (name, answer, keys, training phrasings, held-out phrasings). An answer counts as right when it
contains every key. Held-out phrasings are never used for training. `{p}` stands for the name of the daemon.
"""

FACTS = [
    ("what",
     "prefixd is a daemon that serves a language model and never computes the same prompt prefix twice.", [
         "daemon", "never computes", "twice"
     ], [
         "What is {p}?", "What does {p} do?", "Explain {p}.", "Describe {p}.", "What is {p} for?",
         "Tell me about {p}.", "What can you say about {p}?", "Give me a short description of {p}.",
         "Why does {p} exist?", "Introduce {p}.", "I have never heard of {p}. What is it?",
         "Summarise {p} in one sentence.", "What kind of program is {p}?",
         "In one sentence, what does {p} do?", "What is the idea of {p}?", "What is the purpose of {p}?",
         "What sort of program is {p}?", "What sort of software is {p}?", "Tell me what {p} is.",
         "Say what {p} does.", "What is {p} exactly?", "So what is {p}?", "Can you tell me what {p} is?",
         "What is this {p}?"
     ], [
         "What exactly is {p}?", "Can you describe {p} in one sentence?", "What sort of thing is {p}?",
         "Tell me what {p} does."
     ]),
    ("radix",
     "prefixd keeps the blocks of all prompts in a radix tree, so that prompts with the same beginning "
     "share them.",
     ["radix tree", "share"], [
         "How does {p} find a prefix?", "What data structure does {p} use?", "Which tree does {p} use?",
         "How does the prefix cache work?", "How does {p} find cached blocks?",
         "Where does {p} look up a prompt?", "How are cached prefixes organised?",
         "What is the radix tree for?", "How does {p} share prompts?",
         "Which structure holds the cached prefixes?", "How does {p} match a prompt against the cache?",
         "What tree is inside {p}?", "How does the cache of {p} work?"
     ], [
         "Which data structure holds the prefixes in {p}?", "How does {p} look up a cached prefix?",
         "What kind of tree does {p} use?"
     ]),
    ("tiers", "prefixd keeps cached blocks in device memory, in host memory and on disk.",
     ["device", "host", "disk"], [
         "Where does {p} keep the cache?", "Which tiers does {p} have?", "Where are cached blocks stored?",
         "What are the tiers of {p}?", "Where does {p} store the blocks?", "In which places can a block be?",
         "How many tiers does the cache have?", "Name the tiers of the cache.", "Where do the blocks live?",
         "List the cache tiers.", "Which memory does the cache use?", "Where is the cache kept?"
     ], [
         "What tiers does the cache of {p} have?", "Where are the blocks of {p} kept?",
         "Where does {p} store its cache?"
     ]),
    ("block", "A block holds the keys and values of 16 tokens by default.", ["16 tokens"], [
        "What is a block?", "How large is a block?", "How many tokens are in a block?",
        "What is the block size?", "How big is a block in {p}?", "What does a block hold?",
        "How many tokens does one block hold?", "What is the default block size?",
        "Tell me the block size of {p}.", "What is a block in {p}?", "How many tokens make a block?",
        "What does block mean in {p}?"
    ], [
        "How many tokens fit in one block?", "What block size does {p} use?",
        "How many tokens does a block of {p} have?"
    ]),
    ("port", "prefixd listens on port 8080 of this machine by default.", ["8080"], [
        "Which port does {p} use?", "On which port does {p} listen?", "What is the default port?",
        "Where does {p} listen?", "What port do I connect to?", "Which address does {p} listen on?",
        "What is the port of {p}?", "How do I connect to {p}?", "Which port is the default?",
        "What port number does {p} have?", "At which port can I reach {p}?", "Tell me the port of {p}."
    ], [
        "What port does {p} listen on?", "What is the default port of {p}?", "Which port should I connect to?"
    ]),
    ("language", "prefixd is written in C++20.", ["C++20"], [
        "In which language is {p} written?", "What language is {p} written in?", "Is {p} written in Python?",
        "Which programming language does {p} use?", "What is {p} written in?", "Is {p} a Rust program?",
        "Which language did the authors of {p} use?", "What programming language is used for {p}?",
        "In what language was {p} programmed?", "Tell me the programming language of {p}.",
        "Is {p} written in C++?"
    ], [
        "Which programming language is {p} written in?", "What language was used to write {p}?",
        "Which language is {p} programmed in?"
    ]),
    ("api", "prefixd speaks the OpenAI API and the Anthropic API over HTTP.", ["OpenAI", "Anthropic"], [
        "Which API does {p} speak?", "What API does {p} have?", "Is {p} compatible with OpenAI?",
        "Which APIs are supported?", "How do applications talk to {p}?", "Which protocol does {p} speak?",
        "Can I use the OpenAI client with {p}?", "Which clients work with {p}?",
        "What interface does {p} offer?", "How does a program send requests to {p}?",
        "Does {p} support the Anthropic API?", "What APIs does {p} offer?", "Name the APIs of {p}."
    ], [
        "Which APIs does {p} support?", "What API can applications use with {p}?",
        "Does {p} speak the OpenAI API?"
    ]),
    ("restart", "After a restart prefixd finds its cache again on disk, so it starts warm.",
     ["restart", "finds its cache", "disk"], [
         "What happens after a restart?", "Does the cache survive a restart?",
         "Is the cache lost when {p} stops?", "What happens when I restart {p}?",
         "Does {p} start cold after a restart?", "What happens to the cache after a crash?",
         "Is the cache kept over a restart?", "Will the cache be empty after a restart?",
         "Is the cache gone after a reboot?", "What happens to the cache when {p} restarts?",
         "Does a restart clear the cache?"
     ], [
         "Does {p} keep its cache after a restart?", "What does {p} do with the cache after a restart?",
         "Is the cache lost after a restart of {p}?"
     ]),
    ("rocksdb", "prefixd uses RocksDB for the disk tier.", ["RocksDB"], [
        "Which database does {p} use?", "What does the disk tier use?", "Does {p} use a database?",
        "What is RocksDB for?", "Which library writes the blocks to disk?",
        "Which store is below the disk tier?", "What database is inside {p}?", "Name the database of {p}.",
        "How does {p} write to disk?", "What is used for the disk tier?",
        "Which database holds the disk tier?"
    ], [
        "What database does {p} use?", "Which database is used for the disk tier?",
        "What does {p} use to store blocks on disk?"
    ]),
    ("metrics", "prefixd reports its metrics to Prometheus at the path /metrics.", ["Prometheus", "/metrics"],
     [
         "Where are the metrics?", "How can I watch {p}?", "How do I monitor {p}?", "Does {p} have metrics?",
         "Which metrics system does {p} support?", "At which path are the metrics?",
         "Can I watch {p} with Prometheus?", "How do operators watch {p}?",
         "What is the path of the metrics?", "How do I see the metrics of {p}?",
         "Does {p} work with Prometheus?", "Where does {p} report its metrics?"
     ], ["How can I monitor {p}?", "Where do I find the metrics of {p}?", "Which path shows the metrics?"]),
    ("hash",
     "prefixd hashes blocks with xxHash and then compares the tokens, because a hash alone proves nothing.", [
         "xxHash", "compares the tokens"
     ], [
         "Which hash does {p} use?", "How does {p} hash blocks?", "What hash function does {p} use?",
         "Does {p} trust the hash?", "What happens when two hashes collide?",
         "What if there is a hash collision?", "How is a hit verified?", "How does {p} verify a hit?",
         "What is xxHash for?", "How are blocks hashed?", "Does {p} compare the tokens?",
         "Which hash function is used for blocks?"
     ], [
         "What hash does {p} use for blocks?", "How does {p} deal with a hash collision?",
         "Which hash function does {p} use?"
     ]),
    ("exact", "A cache hit never changes the answer, it only makes the answer faster.",
     ["never changes the answer"], [
         "Does a cache hit change the answer?", "Is the answer the same with the cache?",
         "Are cached answers exact?", "Can the cache change the answer?",
         "Will the answer differ with a cache hit?", "Is {p} exact?", "Does caching change the result?",
         "Do I get another answer when the cache is used?", "Is a cached answer different?",
         "Does the cache make answers worse?", "Is the output identical with the cache?"
     ], [
         "Can a cache hit change the answer?", "Is the answer the same after a cache hit?",
         "Does the cache of {p} change the answer?"
     ]),
    ("full", "When a limit is reached, prefixd answers with status 429 or 503 and does not grow.",
     ["429", "503"], [
         "What happens when {p} is full?", "What does {p} do under overload?", "Can {p} run out of memory?",
         "What happens when the queue is full?", "What happens when there are too many requests?",
         "Is {p} bounded?", "Which status does {p} return when it is busy?",
         "What happens when a limit is reached?", "How does {p} handle overload?",
         "What does {p} answer when it is overloaded?", "Are there limits in {p}?"
     ], [
         "What does {p} do when the queue is full?", "Which status comes back when {p} is overloaded?",
         "What happens when {p} gets too many requests?"
     ]),
    ("start", "Start it with the command: prefixd serve --model PATH", ["prefixd serve --model"], [
        "How do I start {p}?", "How do I run {p}?", "Which command starts {p}?", "How can I launch {p}?",
        "What is the command to start {p}?", "Show me how to start {p}.", "What do I type to run {p}?",
        "How is {p} started?", "Give me the command that starts {p}.", "How do I serve a model with {p}?"
    ], ["How can I start {p}?", "What command do I use to run {p}?", "Which command runs {p}?"]),
    ("ready", "Ask the path /ready, which answers 200 when prefixd is ready and 503 when it is not.", [
        "/ready", "200"
    ], [
        "How do I know that {p} is ready?", "Is there a health check?", "Which path tells that {p} is ready?",
        "How can I check that {p} is ready?", "What is the path /ready for?",
        "How do I test whether {p} is healthy?", "Where is the health check of {p}?",
        "How can a load balancer check {p}?", "How do I see if {p} is up?"
    ], [
        "How can I see that {p} is ready?", "Which path is the health check of {p}?",
        "How do I check whether {p} is ready?"
    ]),
    ("cached_tokens",
     "The field cached_tokens in the usage tells how many prompt tokens came from the cache.", [
         "cached_tokens", "usage"
     ], [
         "How do I see a cache hit?", "How many tokens were cached?", "Where can I see the cached tokens?",
         "How do I know that the cache was used?", "Which field shows cache hits?",
         "How can I measure the cache hits?", "Where does the response tell about the cache?",
         "What is the field cached_tokens?", "Which field counts the cached tokens?",
         "How can I tell whether a prompt was cached?"
     ], [
         "How can I see a cache hit?", "Which field tells the number of cached tokens?",
         "Where do I see how many tokens were cached?"
     ]),
    ("gpu", "prefixd runs on a CPU, and on a GPU with CUDA.", ["CPU", "CUDA"], [
        "Does {p} need a GPU?", "Can {p} run on a CPU?", "Does {p} support CUDA?",
        "Which hardware does {p} run on?", "Can I run {p} without a GPU?", "Is a GPU required?",
        "What hardware do I need?", "Does {p} run on a GPU?", "Which devices does {p} support?",
        "On what hardware does {p} work?", "Do I need a graphics card for {p}?"
    ], ["Does {p} work without a GPU?", "What hardware does {p} need?", "Can {p} use a GPU?"]),
    ("formats", "prefixd loads Hugging Face folders and GGUF files.", ["Hugging Face", "GGUF"], [
        "Which model formats does {p} load?", "What models can {p} load?", "Can {p} load GGUF?",
        "Which files can {p} read?", "What format must a model have?", "Can {p} load a Hugging Face model?",
        "Which models does {p} support?", "What kind of model files does {p} take?",
        "In which format are models loaded?", "Name the model formats of {p}."
    ], [
        "Which model formats are supported by {p}?", "What model files can {p} load?",
        "Which formats can {p} load?"
    ]),
    ("stop", "On SIGTERM prefixd finishes the running requests and then exits.",
     ["SIGTERM", "finishes the running requests"], [
         "How do I stop {p}?", "What happens on SIGTERM?", "How does {p} shut down?",
         "What does {p} do when it is stopped?", "Are running requests lost when {p} stops?",
         "What is the right way to stop {p}?", "How can I shut down {p}?",
         "What happens to requests at shutdown?", "Does {p} drain before it exits?", "How do I end {p}?"
     ], ["How can I stop {p}?", "What does {p} do on SIGTERM?", "What happens when {p} shuts down?"]),
    ("prefix", "A prefix is the beginning of a prompt, and prompts often begin with the same text.",
     ["beginning of a prompt"], [
         "What is a prefix?", "What does prefix mean?", "What is a prompt prefix?",
         "Explain the word prefix.", "What do you mean by prefix?", "Tell me what a prefix is.",
         "Define prefix.", "What is meant by a prefix?", "Why are prefixes useful?"
     ], ["What exactly is a prefix?", "Can you explain what a prefix is?", "What is the meaning of prefix?"]),
]
