"""The build sections of compose files, as targets.

Values are made here out of YAML's nodes, so that aliases and merge keys (<<) are counted before they grow.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from estiva.engine.bake.merge import KINDS, Config, Target, coerced
from estiva.errors import InvalidInput, Unsupported, brief, oneline

MAX_VALUES = 100_000  # of one file, aliases written out
MAX_DEPTH = 64
MAX_TEXT = 1 << 20
STANDARD = "tag:yaml.org,2002:"
NAME = re.compile(r"[a-zA-Z0-9_-]+")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TRUE = ("true", "True", "TRUE", "yes", "Yes", "on", "y")
KNOWN = {
    "context", "dockerfile", "dockerfile_inline", "args", "target", "labels", "cache_from", "cache_to",
    "tags", "platforms", "secrets", "ssh", "network", "additional_contexts", "extra_hosts", "no_cache",
    "pull", "shm_size", "ulimits", "x-bake", "entitlements", "privileged", "provenance", "sbom",
}  # fmt: skip
UNITS = {"": 0, "b": 0, "k": 10, "kb": 10, "m": 20, "mb": 20, "g": 30, "gb": 30, "t": 40, "tb": 40}


def looks_like(text: str) -> bool:
    """Whether a file without a known ending is a compose file."""
    return re.search(r"^services\s*:", text, re.MULTILINE) is not None


def load(files: list[tuple[str, str]], environment: Mapping[str, str]) -> Config:
    """Raises InvalidInput, Unsupported."""
    whole: dict[str, Any] = {}
    for name, text in files:
        value = _Reader(name, environment).read(text)
        for key in ("include",):
            if key in value:
                raise Unsupported(f"{name}: {key} is not supported", hint="name the other file with -f, too")
        whole = _over(whole, value)
    name = files[0][0]
    config = Config()
    members: list[str] = []
    for service, about in _map(whole.get("services") or {}, name, "services").items():
        place = f"{name}: service {oneline(service)}"
        about = _map(about or {}, place, "it")
        if "extends" in about:
            raise Unsupported(f"{place}: extends is not supported", hint="YAML's anchors and << are")
        if about.get("build") is None:
            continue
        target = service.replace(".", "_")
        if not NAME.fullmatch(target):
            raise InvalidInput(f'{place}: invalid name; only "[a-zA-Z0-9_-]+" are allowed')
        built = _Service(place, about, whole.get("secrets") or {}, environment, config)
        config.add(target, built.target())
        members.append(target)
    config.groups["default"] = members
    return config


def _over(below: Any, above: Any) -> Any:
    """A later file over an earlier one: maps by key, lists of a build one after the other."""
    if isinstance(below, dict) and isinstance(above, dict):
        result = dict(below)
        for key, value in above.items():
            result[key] = _over(below[key], value) if key in below else value
        return result
    if isinstance(below, list) and isinstance(above, list):
        return [*below, *(each for each in above if each not in below)]
    return below if above is None else above


def _map(value: Any, place: str, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"{place}: {key} is not a map")
    return value


class _Reader:
    """Makes values out of a text."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self.name = name
        self.environment = environment
        self.count = 0

    def read(self, text: str) -> dict[str, Any]:
        import yaml

        depth = max((len(line) - len(line.lstrip(" -")) for line in text.split("\n")), default=0)
        if depth > 1000 or text.count("[") + text.count("{") > MAX_VALUES:
            raise InvalidInput(f"{self.name}: this is nested too deep")
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            return _map(self.value(node, 0) if node is not None else {}, self.name, "the file")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f":{mark.line + 1}" if mark else ""
            raise InvalidInput(
                f"{self.name}{line}: this is not valid YAML: {brief(str(error.problem))}"
            ) from None
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            raise InvalidInput(f"{self.name}: this is not valid YAML: {brief(str(error))}") from None
        except RecursionError:
            raise InvalidInput(f"{self.name}: this is nested too deep") from None

    def value(self, node: Any, depth: int) -> Any:
        import yaml

        self.count += 1
        if self.count > MAX_VALUES or depth > MAX_DEPTH:
            raise InvalidInput(f"{self.name}:{node.start_mark.line + 1}: there is too much in this file")
        if not isinstance(node, yaml.ScalarNode) and node.tag not in (STANDARD + "seq", STANDARD + "map"):
            raise InvalidInput(f"{self.name}:{node.start_mark.line + 1}: {oneline(node.tag)} is unsupported")
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, depth + 1) for each in node.value]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        return self._scalar(node)

    def _mapping(self, node: Any, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        below: dict[str, Any] = {}
        for key, value in node.value:
            inner = self.value(value, depth + 1)
            if key.tag == STANDARD + "merge":
                for each in inner if isinstance(inner, list) else [inner]:
                    below = {**_map(each, f"{self.name}:{key.start_mark.line + 1}", "<<"), **below}
                continue
            if not isinstance(key.value, str):
                raise InvalidInput(f"{self.name}:{key.start_mark.line + 1}: a key is not text")
            result[key.value] = inner
        return {**below, **result}

    def _scalar(self, node: Any) -> Any:
        kind = node.tag.removeprefix(STANDARD)
        if kind == "null":
            return None
        if kind == "bool":
            return node.value in TRUE
        if kind not in ("str", "int", "float", "timestamp"):
            raise InvalidInput(f"{self.name}:{node.start_mark.line + 1}: {oneline(node.tag)} is unsupported")
        text = interpolated(node.value, self.environment, f"{self.name}:{node.start_mark.line + 1}")
        self.count += len(text) >> 10
        return text


def interpolated(text: str, environment: Mapping[str, str], where: str, depth: int = 0) -> str:
    """$NAME, ${NAME}, ${NAME:-default} and the like; $$ is a $. Raises InvalidInput."""
    if "$" not in text:
        return text
    result, at = [], 0
    while at < len(text):
        dollar = text.find("$", at)
        if dollar < 0 or dollar + 1 == len(text):
            break
        result.append(text[at:dollar])
        if text[dollar + 1] == "$":
            result.append("$")
            at = dollar + 2
        elif text[dollar + 1] == "{":
            at = _closing(text, dollar + 2, where)
            result.append(_substituted(text[dollar + 2 : at - 1], environment, where, depth))
        elif found := VARIABLE.match(text, dollar + 1):
            result.append(environment.get(found[0], ""))
            at = found.end()
        else:
            raise InvalidInput(f"{where}: invalid interpolation in {oneline(text)[:60]!r}", hint="$$ is a $")
        if sum(map(len, result)) > MAX_TEXT:
            raise InvalidInput(f"{where}: a text would be longer than {MAX_TEXT} characters")
    return "".join(result) + text[at:]


def _closing(text: str, at: int, where: str) -> int:
    depth = 1
    while at < len(text):
        if text.startswith("${", at):
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return at + 1
        at += 1
    raise InvalidInput(f"{where}: a ${{ has no end")


def _substituted(inner: str, environment: Mapping[str, str], where: str, depth: int) -> str:
    found = VARIABLE.match(inner)
    rest = inner[found.end() :] if found else ""
    sign = next((each for each in (":-", ":?", ":+", "-", "?", "+") if rest.startswith(each)), "")
    if not found or (rest and not sign) or depth > MAX_DEPTH // 2:
        raise InvalidInput(f"{where}: invalid interpolation ${{{oneline(inner)[:60]}}}", hint="$$ is a $")
    value = environment.get(found[0])
    there = bool(value) if sign.startswith(":") else value is not None
    if not sign or (there and sign[-1] != "+"):
        return value or ""
    word = rest[len(sign) :]
    if sign[-1] == "?":
        told = interpolated(word, environment, where, depth + 1) or "it is not set"
        raise InvalidInput(f"{where}: required variable {found[0]}: {oneline(told)}")
    if sign[-1] == "+" and not there:
        return ""
    return interpolated(word, environment, where, depth + 1)


def dotenv(path: str) -> dict[str, str]:
    """NAME=VALUE lines; nothing if there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(MAX_TEXT)
    except OSError:
        return {}
    result = {}
    for line in text.split("\n"):
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not VARIABLE.fullmatch(name):
            continue
        if value[:1] in ("'", '"') and value[-1:] == value[:1] and len(value) > 1:
            value = value[1:-1]
        else:
            value = value.partition(" #")[0].rstrip()
        result[name] = value
    return result


class _Service:
    """One service's build section."""

    def __init__(
        self,
        place: str,
        about: dict[str, Any],
        secrets: dict[str, Any],
        environment: Mapping[str, str],
        config: Config,
    ) -> None:
        build = about["build"]
        self.place = place
        self.build = {"context": build} if isinstance(build, str) else _map(build, place, "build")
        self.image = about.get("image")
        self.own = self.pairs("environment", about.get("environment") or {})
        self.secrets = secrets
        self.environment = environment
        for key in self.build:
            if key not in KNOWN and not key.startswith("x-"):
                config.warnings.append(f"{place}: build: {oneline(key)} is unknown and has no effect")
        if str(self.build.get("privileged") or "").lower() == "true":
            raise Unsupported(f"{place}: build: privileged is not supported", hint="RUN --security=insecure")

    def target(self) -> Target:
        build = self.build
        result: Target = {
            "context": build.get("context"),
            "contexts": self.pairs("additional_contexts", build.get("additional_contexts")),
            "dockerfile": build.get("dockerfile"),
            "dockerfile-inline": build.get("dockerfile_inline"),
            "args": self._args(),
            "labels": self.pairs("labels", build.get("labels"), ""),
            "tags": self.words("tags"),
            "cache-from": self.words("cache_from"),
            "cache-to": self.words("cache_to"),
            "target": build.get("target") or None,
            "secret": [self._secret(each) for each in build.get("secrets") or ()],
            "ssh": self._ssh(),
            "platforms": self.words("platforms"),
            "pull": build.get("pull") or None,
            "no-cache": build.get("no_cache") or None,
            "network": build.get("network") or None,
            "shm-size": self._shm_size(),
            "ulimits": self._ulimits(),
            "entitlements": self.words("entitlements"),
            "extra-hosts": self._hosts(),
            "attest": [
                f"type={kind}" + ("" if said is True else f",{said}" if said else ",disabled=true")
                for kind in ("sbom", "provenance")
                if (said := build.get(kind)) is not None
            ],
        }
        for key, value in list(result.items()):
            result[key] = self.checked(key, value)
        result = {key: value for key, value in result.items() if value not in (None, [], {})}
        self._extend(result)
        if not result.get("tags") and isinstance(self.image, str):
            result["tags"] = [self.image]
        return result

    def checked(self, key: str, value: Any) -> Any:
        try:
            return coerced(key, value)
        except ValueError as error:
            raise InvalidInput(f"{self.place}: build: {key}: {error}") from None

    def words(self, key: str) -> list[Any]:
        value = self.build.get(key) or []
        if not isinstance(value, list):
            raise InvalidInput(f"{self.place}: build: {key} is not a list")
        return value

    def pairs(self, key: str, value: Any, default: str | None = None) -> dict[str, Any]:
        """A map, or a list of NAME=VALUE."""
        if isinstance(value, list):
            result: dict[str, Any] = {}
            for each in value:
                name, equals, text = str(each).partition("=")
                result[name] = text if equals else default
            return result
        return {
            name: default if each is None else each
            for name, each in _map(value or {}, self.place, key).items()
        }

    def _args(self) -> dict[str, Any]:
        found = self.pairs("args", self.build.get("args"))
        for name, value in found.items():
            if value is None:
                found[name] = self.own.get(name, self.environment.get(name))
        return found

    def _secret(self, each: Any) -> str:
        about = {"source": each} if isinstance(each, str) else _map(each, self.place, "a secret")
        source = str(about.get("source") or "")
        known = self.secrets.get(source) if isinstance(self.secrets, dict) else None
        if not isinstance(known, dict) or known.get("external"):
            raise InvalidInput(f"{self.place}: build: the secret {oneline(source)} is not among secrets")
        if known.get("environment"):
            return f"id={source},env={known['environment']}"
        return f"id={source},src={posixpath.normpath(str(known.get('file') or source))}"

    def _ssh(self) -> list[str]:
        found = self.pairs("ssh", self.build.get("ssh"))
        return sorted(name if path is None else f"{name}={path}" for name, path in found.items())

    def _hosts(self) -> dict[str, str]:
        value = self.build.get("extra_hosts") or {}
        if isinstance(value, dict):
            return {k: ",".join(map(str, v)) if isinstance(v, list) else str(v) for k, v in value.items()}
        result = {}
        for each in value:
            name, _, address = str(each).replace(":", "=", 0 if "=" in str(each) else 1).partition("=")
            result[name] = address
        return result

    def _shm_size(self) -> str | None:
        text = str(self.build.get("shm_size") or "").strip().lower()
        if not text:
            return None
        found = re.fullmatch(r"(\d{1,15})\s*([a-z]{0,2})", text)
        if not found or found[2] not in UNITS:
            raise InvalidInput(f"{self.place}: build: invalid shm_size {oneline(text)}")
        return _human(int(found[1]) << UNITS[found[2]])

    def _ulimits(self) -> list[str]:
        result = []
        for name, value in _map(self.build.get("ulimits") or {}, self.place, "ulimits").items():
            pair = value if isinstance(value, dict) else {"soft": value, "hard": value}
            result.append(f"{name}={pair.get('soft', 0)}:{pair.get('hard', 0)}")
        return result

    def _extend(self, target: Target) -> None:
        """What x-bake says: what the build section has no words for."""
        about = self.build.get("x-bake") or {}
        for key, value in _map(about, self.place, "x-bake").items():
            if key not in KINDS or key in ("inherits", "context", "dockerfile", "dockerfile-inline"):
                raise InvalidInput(f"{self.place}: x-bake: {oneline(key)} is unknown")
            if KINDS[key] == "list" and isinstance(value, str):
                value = [value]
            if KINDS[key] == "map":
                target[key] = {**target.get(key, {}), **self.checked(key, self.pairs(key, value))}
            elif key in ("tags", "cache-from", "cache-to", "secret", "ssh", "no-cache-filter"):
                target[key] = list(dict.fromkeys([*target.get(key, ()), *self.checked(key, value)]))
            else:
                target[key] = self.checked(key, value)


def _human(size: int) -> str:
    """Bytes as Go's units.BytesSize has them."""
    value, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{value:.4g}{units[0]}"
