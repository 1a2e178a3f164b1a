"""A program of its own that lets eSpeak NG say words: jobs as JSON on standard input, samples on standard output.

The library has one hidden state for the whole process, which each word changes. In a fresh process the same jobs give
the same samples, and a crash or a hang of the library harms nobody. Only the standard library is needed here, and
the program can be run by its path.
"""

from __future__ import annotations

import array
import ctypes
import json
import sys
from typing import Any

_RETRIEVAL, _UTF8 = 1, 1
_SPEED, _PITCH = 1, 3


def main() -> int:
    """Say ``jobs`` of [text, voice, speed, pitch]; a line of JSON with rate and lengths, then int16 samples."""
    task = json.load(sys.stdin)
    library: Any = ctypes.CDLL(task["library"])
    rate = library.espeak_Initialize(_RETRIEVAL, 0, task["data"].encode(), 0)
    if rate <= 0:
        print("eSpeak NG does not start", file=sys.stderr)
        return 1
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    samples = array.array("h")

    def receive(part: Any, count: int, events: Any) -> int:
        if part and count > 0:
            samples.extend(part[:count])
        return 0

    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    callback = kind(receive)
    library.espeak_SetSynthCallback(callback)
    lengths = []
    for text, voice, speed, pitch in task["jobs"]:
        before = len(samples)
        if library.espeak_SetVoiceByName(voice.encode()):
            print(f"eSpeak NG has no voice {voice!r}", file=sys.stderr)
            return 1
        library.espeak_SetParameter(_SPEED, speed, 0)
        library.espeak_SetParameter(_PITCH, pitch, 0)
        data = text.encode()
        library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, 1, 0, _UTF8, None, None)
        library.espeak_Synchronize()
        lengths.append(len(samples) - before)
    sys.stdout.buffer.write(json.dumps({"rate": rate, "lengths": lengths}).encode() + b"\n" + samples.tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
