"""llm, with the model in extra-openai-models.yaml. It asks for usage itself, in streams as well."""

import json
import os
import pathlib

from case import MAX_TOKENS, NAME, QUESTION, TEXT, URL, check_usage, command, equal, report

FOLDER = pathlib.Path("llm").resolve()
FOLDER.mkdir()
(FOLDER / "extra-openai-models.yaml").write_text(f"""\
- model_id: prefixd
  model_name: {NAME}
  api_base: {URL}/v1
""")
os.environ["LLM_USER_PATH"] = str(FOLDER)

for more in (["--no-stream"], []):
    what = " ".join(more) or "streamed"
    shown = command("llm", "-m", "prefixd", "--key", "any", "-o", "temperature", 0, "-o", "max_tokens",
                    MAX_TOKENS, *more, QUESTION)
    equal(what, shown.removesuffix("\n"), TEXT)
    entry = json.loads(command("llm", "logs", "--json", "-n", 1))[0]
    check_usage(what, entry["input_tokens"], entry["output_tokens"])
report("text, usage", "text, usage")
