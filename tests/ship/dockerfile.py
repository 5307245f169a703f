"""What a Dockerfile says, stage by stage: enough of it to do by hand what its image would do."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Stage:
    """One stage: its instructions in their order, those of the stage that it is built on first."""

    instructions: list[tuple[str, str]] = field(default_factory=list)

    def last(self, name: str) -> str:
        """Give what the last instruction of a name says."""
        return [said for instruction, said in self.instructions if instruction == name][-1]

    def command(self, name: str) -> list[str]:
        """Give an ENTRYPOINT, CMD or HEALTHCHECK as the list of words that its exec form is."""
        words: list[str] = json.loads(re.sub(r"^.*?(?=\[\")", "", self.last(name)))
        return words

    @property
    def environment(self) -> dict[str, str]:
        """All that ENV sets."""
        pairs = [
            pair for name, said in self.instructions if name == "ENV" for pair in shlex.split(said)
        ]
        return dict(pair.split("=", 1) for pair in pairs)

    @property
    def copies(self) -> list[tuple[str | None, list[str], str]]:
        """Every COPY: the stage that it copies from, None for the context; what; and where to."""
        found = []
        for name, said in self.instructions:
            if name == "COPY":
                words = said.split()
                options = [word for word in words if word.startswith("--")]
                source = next((o.removeprefix("--from=") for o in options if "--from=" in o), None)
                *what, target = [word for word in words if not word.startswith("--")]
                found.append((source, what, target))
        return found


def read_dockerfile(file: Path) -> dict[str, Stage]:
    """Read its stages, by name."""
    text = re.sub(r"(?m)^\s*#.*\n", "", file.read_text())
    text = re.sub(r"\\\n", " ", text)
    stages: dict[str, Stage] = {}
    stage = Stage()
    for line in filter(None, map(str.strip, text.splitlines())):
        name, said = line.split(maxsplit=1)
        if name == "FROM":
            base, _, own = said.partition(" AS ")
            stage = Stage(list(stages[base].instructions) if base in stages else [])
            stages[own] = stage
        stage.instructions.append((name, said))
    return stages
