"""The handler of the tests' own archives: it decodes nothing, and does what the body says.

=============  =================================================
body           what it does
=============  =================================================
``sleep 1.5``  answers after so many seconds
``bad``        answers 400, as an item of its batch alone
``raise``      raises
``die``        ends the worker
``eat``        asks for more memory than there is
anything else  answers with the logits of ``model-config.yaml``
=============  =================================================
"""

import json
import math
import os
import time
from pathlib import Path

from handlers.parking import park


class Stub:
    def initialize(self, context):
        self.config = context.model_yaml_config["stub"]
        time.sleep(self.config.get("load_s", 0))
        if "die" in self.config:
            os._exit(self.config["die"])
        if Path(self.config.get("fail_while", "no such file")).exists():
            raise ValueError("it fails as long as that file is there")
        if "fail" in self.config:
            raise ValueError(self.config["fail"])
        self.name = context.model_name
        self.version = context.manifest["model"]["modelVersion"]

    def handle(self, data, context):
        if park(context, self.version, len(data)):
            return [b"{}"]
        return [self.answer(index, item, context) for index, item in enumerate(data)]

    def answer(self, index, item, context):
        context.set_response_content_type(index, "application/json")
        time.sleep(self.config.get("answer_s", 0))
        word, _, number = bytes(item.get("data") or item.get("body")).partition(b" ")
        if self.config.get("dies") and word != b"a":  # a golden image
            os._exit(1)
        if word == b"sleep":
            time.sleep(float(number))
        elif word == b"raise":
            raise RuntimeError("raised on demand")
        elif word == b"die":
            os._exit(1)
        elif word == b"eat":
            bytearray(1 << 62)
        elif word == b"bad":
            context.set_response_status(400, "Bad Request", index)
            body = {"code": 400, "type": "BadImageException", "message": "expected an image"}
            return json.dumps(body).encode()
        headers = {k.lower(): v for k, v in context.get_all_request_header(index).items()}
        options = {**headers, **item}  # a field of gRPC's has a mapping among the headers
        best = max(self.probabilities(), key=lambda entry: entry["probability"])
        context.set_response_header(index, "X-Marina-Version", self.version)
        context.set_response_header(index, "X-Marina-Top1", best["label"].replace(" ", "%20"))
        context.set_response_header(index, "X-Marina-Confidence", str(best["probability"]))
        return json.dumps(self.form(options)).encode()

    def form(self, options):
        ranked = sorted(self.probabilities(), key=lambda entry: -entry["probability"])
        shown = ranked[: int(options.get("x-marina-top-k", 2))]
        if options.get("x-marina-format") in ("detailed", b"detailed"):
            return {"model": self.name, "version": self.version, "predictions": shown}
        return {entry["label"]: entry["probability"] for entry in shown}

    def probabilities(self):
        exponentials = [math.exp(logit) for logit in self.config["logits"]]
        return [
            {"label": f"class {index}", "index": index, "probability": value / sum(exponentials)}
            for index, value in enumerate(exponentials)
        ]
