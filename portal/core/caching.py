"""The cache holds JSON, never pickles: whoever can write to the cache must not be able to run code here."""

import json
from typing import Any


class JSONSerializer:
    def dumps(self, obj: Any) -> bytes | int:
        # Whole numbers stay bare so that the server can count them up.
        if type(obj) is int:
            return obj
        return json.dumps(obj, separators=(",", ":")).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)
