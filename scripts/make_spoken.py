#!/usr/bin/env python3
"""Build the embedded set `spoken`: short English sentences, written for this project and spoken by espeak-ng.

    apt-get install espeak-ng
    python scripts/make_spoken.py [--output DIR]

The sounds that ship were made by espeak-ng 1.51 with the voices and speeds below, brought from its 22,050 Hz to 16 kHz
by scipy's `resample_poly`, and stored as FLAC with 16 bits, one channel, nothing cut and nothing added. The same
version makes the same samples again; another one speaks a little differently.

A synthesizer's speech is clear, without noise, and unlike a person's: error rates on it say that a recogniser works,
and nothing of how well it does on people.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly
from stratified import interleave

OUTPUT = Path(__file__).parents[1] / "harness" / "assets" / "prompts" / "spoken"
RATE_HZ = 16_000
AMPLITUDE = "60"
"""espeak-ng's own is 100, at which some of these voices are clipped."""
N_LENGTHS = 4
"""Classes of length; every prefix holds about as many of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    text: str
    voice: str
    words_per_minute: int


SENTENCES = (
    Sentence(text="Please close the window before you leave.", voice="en-gb", words_per_minute=150),
    Sentence(text="The train to Bristol leaves at half past nine.", voice="en-us", words_per_minute=150),
    Sentence(text="My sister Anna plays the violin.", voice="en-gb-x-rp", words_per_minute=140),
    Sentence(text="We need 12 chairs and three tables.", voice="en-us+f3", words_per_minute=140),
    Sentence(
        text="The museum is closed on Mondays, but the garden behind it is open every day.",
        voice="en-gb",
        words_per_minute=160,
    ),
    Sentence(
        text="Doctor Harris asked me to drink more water and to sleep at least eight hours.",
        voice="en-us",
        words_per_minute=155,
    ),
    Sentence(
        text="In 1969 two men walked on the moon while a third waited above them.",
        voice="en-us+m3",
        words_per_minute=145,
    ),
    Sentence(
        text="Could you tell me where I can buy fresh bread in this town?", voice="en-gb-scotland", words_per_minute=145
    ),
    Sentence(
        text="The old bridge was built of stone, and it still carries every truck that crosses the river Thames.",
        voice="en-gb",
        words_per_minute=150,
    ),
    Sentence(
        text="When the rain stopped, the children ran outside and looked for snails under the wet leaves.",
        voice="en-us+f3",
        words_per_minute=150,
    ),
    Sentence(
        text="My neighbour Peter keeps 40 chickens, a goat and two very patient dogs behind his house.",
        voice="en-gb-x-rp",
        words_per_minute=150,
    ),
    Sentence(
        text="A good map shows not only the roads but also the hills, the rivers and the forests.",
        voice="en-us+m3",
        words_per_minute=150,
    ),
    Sentence(
        text="The meeting on Thursday was moved to 4 o'clock, because the director is travelling from Chicago "
        "and her plane is late.",
        voice="en-us",
        words_per_minute=150,
    ),
    Sentence(
        text="If you boil the potatoes for 20 minutes and add a little butter and salt, you have a simple dinner "
        "for the whole family.",
        voice="en-gb",
        words_per_minute=155,
    ),
    Sentence(
        text="Last winter the lake froze so hard that people from the whole village went skating on it until "
        "the end of February.",
        voice="en-us+f3",
        words_per_minute=145,
    ),
    Sentence(
        text="She opened the letter slowly, read it twice, and then put it back into the drawer without saying "
        "a single word to anyone.",
        voice="en-gb-x-rp",
        words_per_minute=150,
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the folder; its sounds are replaced")
    output = parser.parse_args().output
    if shutil.which("espeak-ng") is None:
        sys.exit("espeak-ng is not installed.\nNext: apt-get install espeak-ng, or your system's way to install it.")
    sounds = {sentence: spoken(sentence) for sentence in SENTENCES}
    by_length = sorted(SENTENCES, key=lambda sentence: len(sounds[sentence]))
    length_class = {sentence: place * N_LENGTHS // len(by_length) for place, sentence in enumerate(by_length)}
    ordered = interleave(
        SENTENCES,
        strata=lambda sentence: (length_class[sentence], sentence.voice),
        name=lambda sentence: sentence.text,
    )
    output.mkdir(parents=True, exist_ok=True)
    for old in output.glob("*.flac"):
        old.unlink()
    rows = []
    for number, sentence in enumerate(ordered, start=1):
        name = f"spoken-{number:02d}"
        soundfile.write(output / f"{name}.flac", sounds[sentence], RATE_HZ, subtype="PCM_16", compression_level=1.0)
        rows.append({"prompt_id": name, "file_name": f"{name}.flac", "text": sentence.text, "voice": sentence.voice})
    (output / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    lengths_s = sorted(len(sound) / RATE_HZ for sound in sounds.values())
    print(f"{len(rows)} sounds of {lengths_s[0]:.1f} to {lengths_s[-1]:.1f} s, {sum(lengths_s):.0f} s together.")


def spoken(sentence: Sentence) -> np.ndarray:
    """Samples between -1 and 1 at 16 kHz."""
    voice = ["-v", sentence.voice, "-s", str(sentence.words_per_minute), "-a", AMPLITUDE]
    said = subprocess.run(["espeak-ng", *voice, "--stdout", sentence.text], check=True, capture_output=True)
    # What it writes to a pipe cannot say how long it will be: the header holds the largest number instead.
    samples, own_hz = soundfile.read(io.BytesIO(said.stdout), dtype="float64")
    divisor = np.gcd(own_hz, RATE_HZ)
    return resample_poly(samples, RATE_HZ // divisor, own_hz // divisor)


if __name__ == "__main__":
    main()
