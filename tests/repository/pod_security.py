"""The rules of Kubernetes' restricted Pod Security Standard, and the few that we add."""

from typing import Any

ALLOWED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
"""https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""


def violations(pod: dict[str, Any]) -> list[str]:
    """What is wrong with a pod's spec, as sentences."""
    wrong = [f"{name} is set" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    security = pod.get("securityContext", {})
    if security.get("runAsNonRoot") is not True:
        wrong.append("it may run as root")
    if security.get("runAsUser", 0) == 0:
        wrong.append("it names no user but root")
    if security.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        wrong.append("it has no seccomp profile")
    for volume in pod.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= ALLOWED_VOLUMES:
            wrong.append(f"volume {volume['name']} is of a kind that is not allowed")
        if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
            wrong.append(f"volume {volume['name']} may fill the node's disk")
    # Ours: no pod speaks to the Kubernetes API, and a Service's variables must not look like settings.
    if pod.get("automountServiceAccountToken") is not False:
        wrong.append("it is given a token for the Kubernetes API")
    if pod.get("enableServiceLinks") is not False:
        wrong.append("it is given variables of every Service")
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        wrong += [f"{container['name']}: {sentence}" for sentence in _container_violations(container)]
    return wrong


def _container_violations(container: dict[str, Any]) -> list[str]:
    wrong: list[str] = []
    security = container.get("securityContext", {})
    if security.get("privileged"):
        wrong.append("it is privileged")
    if security.get("allowPrivilegeEscalation") is not False:
        wrong.append("it may gain privileges")
    if security.get("capabilities", {}).get("drop") != ["ALL"]:
        wrong.append("it keeps capabilities")
    if set(security.get("capabilities", {}).get("add", [])) - {"NET_BIND_SERVICE"}:
        wrong.append("it adds capabilities")
    if any("hostPort" in port for port in container.get("ports", [])):
        wrong.append("it takes a port of the node")
    # Ours.
    if security.get("readOnlyRootFilesystem") is not True:
        wrong.append("it may write to its image")
    if "memory" not in container.get("resources", {}).get("limits", {}):
        wrong.append("its memory is not limited")
    if not {"cpu", "memory"} <= set(container.get("resources", {}).get("requests", {})):
        wrong.append("it requests nothing, so the scheduler cannot place it")
    return wrong
