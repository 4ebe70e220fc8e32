"""The programs themselves: fetched once, pinned, found again."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.stack.errors import MissingTool, StackError

KAFKA_VERSION = "4.1.0"
LOG4J_VERSION = "2.24.3"
"""The version that this Kafka is built with; without its SLF4J binding the broker logs nothing at all."""
VERSITYGW_VERSION = "v1.8.0"
MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
"""The last commit before the project was archived; its notifications are what many stores still send."""
KUSTOMIZE_VERSION = "v5.8.1"
SCHEMA_MODULES = {
    "github.com/kedacore/keda/v2@v2.21.0": "config/crd/bases/keda.sh_*.yaml",
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": "example/prometheus-operator-crd/*.yaml",
}
"""Go modules that hold the schemas of their own Kubernetes resources, and where."""

STRIMZI_VERSION = "0.45.0"
"""The newest whose generator of resource definitions can be had by Maven; it knows them as v1beta2."""
STRIMZI_KINDS = ("topic.KafkaTopic", "user.KafkaUser", "nodepool.KafkaNodePool", "kafka.Kafka")

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>sightline</groupId>
  <artifactId>stack</artifactId>
  <version>1</version>
  <dependencies>{dependencies}
  </dependencies>
</project>
"""
_DEPENDENCY = """
    <dependency>
      <groupId>{0}</groupId>
      <artifactId>{1}</artifactId>
      <version>{2}</version>
    </dependency>"""


def cache_folder() -> Path:
    """Where downloads are kept."""
    return Path(os.environ.get("SIGHTLINE_CACHE") or "~/.cache/sightline").expanduser()


def java() -> str:
    """The Java to run with, 17 or later. Raises `MissingTool`."""
    return _tool("java", "Apache Kafka runs on it; install a Java runtime, version 17 or later")


def kafka_jars() -> Path:
    """The folder with Kafka's jars, fetched by Maven the first time (about 150 MB)."""

    def fetch(folder: Path) -> None:
        wanted = (
            ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
            ("org.apache.logging.log4j", "log4j-slf4j-impl", LOG4J_VERSION),
        )
        _fetch_jars(folder, wanted, f"fetching Apache Kafka {KAFKA_VERSION}")

    return _made_once(f"kafka-{KAFKA_VERSION}", fetch)


def versitygw() -> Path:
    """The versitygw program, built by Go the first time (about a minute)."""
    return _go_install("versitygw", "github.com/versity/versitygw/cmd/versitygw", VERSITYGW_VERSION)


def minio() -> Path:
    """The MinIO program, built by Go the first time (three to four minutes)."""
    return _go_install("minio", "github.com/minio/minio", MINIO_VERSION)


def kustomize() -> Path:
    """The kustomize program, built by Go the first time (about a minute)."""
    return _go_install("kustomize", "sigs.k8s.io/kustomize/kustomize/v5", KUSTOMIZE_VERSION)


def custom_resource_schemas() -> Path:
    """A folder with the definitions (YAML) of KEDA's and the Prometheus operator's resources, as they publish them."""

    def fetch(folder: Path) -> None:
        go = _tool("go", "it fetches the schemas of Kubernetes resources; install Go 1.26 or later")
        for module, pattern in SCHEMA_MODULES.items():
            answer = _run([go, "mod", "download", "-json", module], f"fetching the schemas of {module}")
            for file in Path(json.loads(answer)["Dir"]).glob(pattern):
                shutil.copyfile(file, folder / file.name)

    versions = "-".join(module.rpartition("@")[2] for module in SCHEMA_MODULES)
    return _made_once(f"schemas-{versions}", fetch)


def strimzi_schemas() -> Path:
    """A folder with the definitions (YAML) of Strimzi's resources, made by its own generator."""

    def fetch(folder: Path) -> None:
        wanted = [("io.strimzi", name, STRIMZI_VERSION) for name in ("api", "crd-generator")]
        jars = folder / "jars"
        jars.mkdir()
        _fetch_jars(jars, wanted, f"fetching the generator of Strimzi {STRIMZI_VERSION}")
        for kind in STRIMZI_KINDS:
            target = f"io.strimzi.api.kafka.model.{kind}={folder / kind.rpartition('.')[2]}.yaml"
            command = [java(), "-cp", f"{jars}/*", "io.strimzi.crdgenerator.CrdGenerator", "--yaml", target]
            _run(command, f"making the schema of {kind}")
        shutil.rmtree(jars)

    return _made_once(f"strimzi-schemas-{STRIMZI_VERSION}", fetch)


def _fetch_jars(folder: Path, wanted: Iterable[tuple[str, str, str]], what: str) -> None:
    maven = _tool("mvn", "it fetches Java's libraries; install Maven")
    pom = folder / "pom.xml"
    pom.write_text(_POM.format(dependencies="".join(_DEPENDENCY.format(*one) for one in wanted)))
    _run([maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={folder}"], what)


def _go_install(name: str, package: str, version: str) -> Path:
    def build(folder: Path) -> None:
        go = _tool("go", f"it builds {name}; install Go 1.26 or later")
        _run([go, "install", f"{package}@{version}"], f"building {name} {version}", GOBIN=str(folder))

    return _made_once(f"{name}-{version}", build) / name


def _made_once(name: str, make: Callable[[Path], None]) -> Path:
    finished = cache_folder() / name
    if finished.is_dir():
        return finished
    with _lock(finished.with_suffix(".lock")):
        if finished.is_dir():
            return finished
        partial = finished.with_name(f"{name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        make(partial)
        partial.rename(finished)
    return finished


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _tool(name: str, why: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MissingTool(f"`{name}` was not found: {why}")
    return found


def _run(command: list[str], what: str, **environment: str) -> str:
    print(f"{what} (once; kept in {cache_folder()}) ...", file=sys.stderr)
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"{what} failed with code {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout
