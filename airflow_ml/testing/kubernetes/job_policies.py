"""A Job's rules: which failures count, and when enough indexes succeeded."""

from __future__ import annotations

from airflow_ml.testing.kubernetes.job_indexes import Indexes, read_indexes
from airflow_ml.testing.kubernetes.resources import Object

#: What a rule of ``podFailurePolicy`` may ask for; ``Count`` is what happens without one.
FAIL_JOB, FAIL_INDEX, IGNORE, COUNT = "FailJob", "FailIndex", "Ignore", "Count"


def failure_action(policy: Object | None, pod: Object) -> tuple[str, str]:
    """Return what to do about a failed pod, and why in the words of the Job controller."""
    for number, rule in enumerate((policy or {}).get("rules") or []):
        why = _exit_code_match(rule.get("onExitCodes"), pod) or _condition_match(rule.get("onPodConditions"), pod)
        if why:
            namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
            rule_text = f"{rule['action']} rule at index {number}"
            text = why.format(pod=f"pod {namespace}/{name}", rule=rule_text)
            return rule["action"], text[0].upper() + text[1:]
    return COUNT, ""


def success_rule(policy: Object | None, done: Indexes) -> int | None:
    """Return the number of the ``successPolicy`` rule that is fulfilled; None where none is."""
    for number, rule in enumerate((policy or {}).get("rules") or []):
        wanted = rule.get("succeededCount")
        if rule.get("succeededIndexes") is not None:
            listed = list(read_indexes(rule["succeededIndexes"]))
            have = sum(index in done for index in listed)
            wanted = len(listed) if wanted is None else wanted
        else:
            have = len(done)
        if wanted is not None and have >= wanted:
            return number
    return None


def _exit_code_match(asked: Object | None, pod: Object) -> str:
    if not asked:
        return ""
    statuses = [*(pod["status"].get("containerStatuses") or []), *(pod["status"].get("initContainerStatuses") or [])]
    for status in statuses:
        code = (status["state"].get("terminated") or {}).get("exitCode")
        if not code or asked.get("containerName") not in (None, status["name"]):
            continue
        if (code in asked["values"]) == (asked["operator"] == "In"):
            return f"Container {status['name']} for {{pod}} failed with exit code {code} matching {{rule}}"
    return ""


def _condition_match(asked: list[Object] | None, pod: Object) -> str:
    for wanted in asked or []:
        for condition in pod["status"].get("conditions") or []:
            if condition["type"] == wanted["type"] and condition["status"] == str(wanted.get("status", "True")):
                return f"{{pod}} has condition {condition['type']} matching {{rule}}"
    return ""
