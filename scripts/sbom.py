"""List everything that Marina is made of, as a CycloneDX SBOM with its VEX.

    python scripts/sbom.py --output sbom.cdx.json            # of this environment
    python scripts/sbom.py --python /opt/marina/bin/python   # of another

Python's packages come from the environment. TorchServe's Java side is one jar of unpacked libraries
without metadata: docker/model-server/jars.yaml lists them by hand, vex.yaml says what is known
against them. Both are held against the jar, so that another TorchServe asks for another review.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml

LISTS = Path(__file__).parents[1] / "docker" / "model-server"
OWN = "org/pytorch/serve"
SPECIFICATION = "1.6"
_SCHEMAS = "http://cyclonedx.org/schema"


class Unreviewed(Exception):
    """The jar is not the one that was reviewed."""


def main() -> None:
    """Write the SBOM."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    try:
        text = json.dumps(sbom(arguments.python), indent=1, sort_keys=True) + "\n"
    except Unreviewed as err:
        sys.exit(f"error: {err}")
    if arguments.output is None:
        print(text)
    else:
        arguments.output.write_text(text)


def sbom(python: Path) -> dict[str, Any]:
    """Give the SBOM of an environment.

    Args:
        python: The environment's interpreter.

    Raises:
        Unreviewed: Its TorchServe is not the one that was reviewed.
    """
    document = environment(python)
    jars, vex = (yaml.safe_load((LISTS / name).read_text()) for name in ("jars.yaml", "vex.yaml"))
    served = next((c for c in document["components"] if c["name"] == "torchserve"), None)
    if served is None or served["version"] != jars["torchserve"]:
        found = "none" if served is None else served["version"]
        raise Unreviewed(f"expected TorchServe {jars['torchserve']}, got {found}: review {LISTS}")
    check(model_server(python), jars["jars"], vex["vulnerabilities"])
    served["components"] = [component(jar) for jar in jars["jars"]]
    known = {jar["name"]: reference(jar) for jar in jars["jars"]}
    document["vulnerabilities"] = [
        vulnerability(each, known, vex["reviewed"]) for each in vex["vulnerabilities"]
    ]
    validate(document)
    return document


def environment(python: Path) -> dict[str, Any]:
    """List the packages of an environment."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", str(python)]
    options = [
        "--spec-version",
        SPECIFICATION,
        "--output-reproducible",
        "--output-format",
        "JSON",
        "--no-validate",
    ]
    done = subprocess.run([*command, *options], check=True, capture_output=True, text=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def model_server(python: Path) -> Path:
    """Find TorchServe's jar in an environment."""
    code = "from importlib.util import find_spec; print(find_spec('ts').origin)"
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return Path(done.stdout.strip()).parent / "frontend" / "model-server.jar"


def check(jar: Path, listed: list[dict[str, Any]], known: list[dict[str, Any]]) -> None:
    """Hold the lists against the jar.

    Raises:
        Unreviewed: A class in it belongs to nothing that is listed, a version is another than
            the jar itself names, or TorchServe refers to what is said to be unused.
    """
    with zipfile.ZipFile(jar) as archive:
        names = archive.namelist()
        prefixes = tuple(f"{folder}/" for each in listed for folder in each["packages"])
        strange = sorted(
            {
                "/".join(name.split("/")[:3])
                for name in names
                if name.endswith(".class") and not name.startswith(("META-INF/", "module-info"))
                if not name.startswith((*prefixes, f"{OWN}/"))
            }
        )
        if strange:
            raise Unreviewed(f"nothing in jars.yaml owns {', '.join(strange)} in {jar}")
        for each in listed:
            missing = [p for p in each["packages"] if not any(n.startswith(f"{p}/") for n in names)]
            if missing:
                raise Unreviewed(f"{each['name']}: the jar has no {', '.join(missing)}")
            place = each.get("evidence")
            if place and not (
                each["version"] in place or each["version"].encode() in archive.read(place)
            ):
                raise Unreviewed(f"{each['name']}: {place} does not say {each['version']}")
        own = b"".join(archive.read(n) for n in names if n.startswith(OWN) and "." in n)
    for flaw in known:
        used = [name for name in flaw.get("unused", ()) if name.encode() in own]
        if used:
            raise Unreviewed(f"{flaw['id']}: TorchServe refers to {', '.join(used)}")


def reference(jar: dict[str, Any]) -> str:
    """Give a library's package URL."""
    return f"pkg:maven/{jar['name']}@{jar['version']}"


def component(jar: dict[str, Any]) -> dict[str, Any]:
    """Give a library as a component."""
    group, _, name = jar["name"].partition("/")
    return {
        "type": "library",
        "bom-ref": reference(jar),
        "purl": reference(jar),
        "group": group,
        "name": name,
        "version": jar["version"],
        "licenses": [{"license": {"id": jar["license"]}}],
    }


def vulnerability(flaw: dict[str, Any], known: dict[str, str], reviewed: str) -> dict[str, Any]:
    """Give what is known against libraries, and what it means here."""
    analysis = {key: flaw[key] for key in ("state", "justification", "detail") if key in flaw}
    return {
        "bom-ref": flaw["id"],
        "id": flaw["id"],
        "source": {"name": "NVD", "url": f"https://nvd.nist.gov/vuln/detail/{flaw['id']}"},
        "affects": [{"ref": known[name]} for name in flaw["affects"]],
        "analysis": {**analysis, "lastUpdated": f"{reviewed}T00:00:00Z"},
    }


def validate(document: dict[str, Any]) -> None:
    """Hold the document against CycloneDX's own schema (its library takes half a minute for that).

    Raises:
        jsonschema_rs.ValidationError: It is not valid.
    """
    folder = Path(str(files("cyclonedx.schema") / "_res"))
    names = ("spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json")
    others = [(f"{_SCHEMAS}/{name}", json.loads((folder / name).read_text())) for name in names]
    schema = json.loads((folder / f"bom-{SPECIFICATION}.SNAPSHOT.schema.json").read_text())
    registry = jsonschema_rs.Registry(others)
    jsonschema_rs.validator_for(schema, registry=registry).validate(document)


if __name__ == "__main__":
    main()
