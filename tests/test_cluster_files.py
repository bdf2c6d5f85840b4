"""The files in cluster/ are checked without a cluster, and each check refuses a broken copy.

A check takes the text of a file and gives a list of complaints. `FILES` says which checks a file
must pass; `BROKEN` breaks one place in a copy at a time and says what the complaint must name.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from shell_commands import commands, parses

from dedupe.cli import cli
from dedupe.version import __version__

yaml = pytest.importorskip("yaml")
jsonschema = pytest.importorskip("jsonschema")
pytest.importorskip("ray.autoscaler")

REPOSITORY = Path(__file__).parents[1]
CLUSTER = REPOSITORY / "cluster"
SCHEMAS = Path(os.environ.get("DEDUPE_TEST_SCHEMAS", REPOSITORY / ".." / "shared" / "schemas"))
"""Where KubeRay's schemas are: kuberay-KIND-v1.json."""

PYTHON = "3.11"
RAY = "2.60.0"


def text_of(name):
    return (CLUSTER / name).read_text(encoding="utf-8")


# YAML


class OneOfEach(yaml.SafeLoader):
    """Refuses what YAML readers let pass: a key that is given twice."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"given twice: {twice}", None)
        return super().construct_mapping(node, deep)


def documents(text):
    return list(yaml.load_all(text, OneOfEach))


def shape(value, allowed, where):
    """Complaints about a value that has other keys, types or choices than `allowed`.

    allowed: a type, a set of choices, a list with the shape of the items, or a dict of shapes by
    key, where the key "*" is any.
    """
    if isinstance(allowed, dict):
        if not isinstance(value, dict):
            return [f"{where} is no mapping"]
        return [
            complaint
            for key, item in value.items()
            for complaint in (
                shape(item, allowed.get(key, allowed.get("*")), f"{where}.{key}")
                if key in allowed or "*" in allowed
                else [f"{where}.{key} is unknown"]
            )
        ]
    if isinstance(allowed, list):
        if not isinstance(value, list):
            return [f"{where} is no list"]
        return [c for i, item in enumerate(value) for c in shape(item, allowed[0], f"{where}[{i}]")]
    if isinstance(allowed, set):
        return [] if value in allowed else [f"{where} is {value!r}, not one of {sorted(allowed)}"]
    return [] if type(value) is allowed else [f"{where} is {value!r}, not {allowed.__name__}"]


# Command lines


def ray_cli():
    from ray.scripts.scripts import cli as group

    return group


def dedupe_lines(text):
    """Every `dedupe …` parses with the real command line."""
    defaults = dict(re.findall(r"^(\w+)=\$\{\1:-(.*)\}$", text, re.MULTILINE))
    lines = commands(text, "dedupe")
    return [
        complaint
        for first, *rest in lines
        if first != "--help"
        for complaint in parses(
            cli, first, [re.sub(r"^\$(\w+)$", lambda m: defaults.get(m[1], m[1]), w) for w in rest]
        )
    ]


def ray_lines(text):
    """Every `ray …` parses with Ray's command line."""
    complaints = []
    for first, *rest in commands(text, "ray"):
        group, name = ray_cli(), first
        if first == "job":
            group, (name, *rest) = group.commands["job"], rest
        if first == "symmetric-run":
            complaints += symmetric_run(rest)
        elif first != "stop" or rest:
            complaints += parses(group, name, [_number(word) for word in rest])
    return complaints


def _number(word):
    """An option whose value is computed by the shell, with a number in its place."""
    return re.sub(r"=\$.*", "=1", word)


def symmetric_run(words):
    """Ray's own option checks, and `ray start`'s for what is passed on to it."""
    from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

    words = [_number(word) if word.startswith("-") else word for word in words]
    if "--" not in words:
        return ["symmetric-run needs -- before its command"]
    at = words.index("--")
    try:
        passed_on = curate_and_validate_ray_start_args(
            ["1" if word.startswith("$SLURM") else word for word in words[:at]]
        )
    except click.exceptions.ClickException as error:
        return [f"symmetric-run: {error.format_message()}"]
    return parses(ray_cli(), "start", ["--head", *passed_on])


# The cluster launcher's files

EC2 = {
    "InstanceType": str,
    "ImageId": str,
    "KeyName": str,
    "SubnetIds": [str],
    "SecurityGroupIds": [str],
    "IamInstanceProfile": {"Arn": str, "Name": str},
    "EbsOptimized": bool,
    "Placement": {"AvailabilityZone": str, "GroupName": str, "Tenancy": str},
    "TagSpecifications": [{"ResourceType": str, "Tags": [{"Key": str, "Value": str}]}],
    "UserData": str,
    "MetadataOptions": {
        "HttpTokens": {"required"},
        "HttpPutResponseHopLimit": int,
        "HttpEndpoint": {"enabled", "disabled"},
    },
    "BlockDeviceMappings": [
        {
            "DeviceName": str,
            "Ebs": {
                "VolumeSize": int,
                "VolumeType": {"gp3", "io2"},
                "DeleteOnTermination": {True},
                "Encrypted": {True},
                "Iops": int,
                "Throughput": int,
            },
        }
    ],
    "InstanceMarketOptions": {
        "MarketType": {"spot"},
        "SpotOptions": {
            "MaxPrice": str,
            "SpotInstanceType": {"one-time"},
            "InstanceInterruptionBehavior": {"terminate"},
        },
    },
}
"""What our node_config may have of EC2's RunInstances; Ray adds SubnetIds to it."""

GCE = {
    "machineType": str,
    "minCpuPlatform": str,
    "labels": {"*": str},
    "tags": {"items": [str]},
    "metadata": {"items": [{"key": str, "value": str}]},
    "shieldedInstanceConfig": {
        "enableSecureBoot": bool,
        "enableVtpm": bool,
        "enableIntegrityMonitoring": bool,
    },
    "serviceAccounts": [{"email": str, "scopes": [str]}],
    "disks": [
        {
            "boot": bool,
            "autoDelete": {True},
            "type": {"PERSISTENT"},
            "initializeParams": {"diskSizeGb": int, "diskType": str, "sourceImage": str},
        }
    ],
    "networkInterfaces": [
        {
            "network": str,
            "subnetwork": str,
            "accessConfigs": [{"name": str, "type": {"ONE_TO_ONE_NAT"}, "networkTier": str}],
        }
    ],
    "scheduling": {
        "provisioningModel": {"SPOT"},
        "instanceTerminationAction": {"DELETE"},
        "automaticRestart": {False},
        "onHostMaintenance": {"TERMINATE"},
    },
}
"""What our node_config may have of Compute Engine's instances.insert."""

PROVIDER = {
    "type": {"aws", "gcp"},
    "region": str,
    "availability_zone": str,
    "project_id": str,
    "cache_stopped_nodes": {False},
    "use_internal_ips": bool,
}


def launcher(text):
    """Ray's own checks of a launcher file, stricter ones of its nodes, and what we promise."""
    import logging

    from ray.autoscaler._private.util import prepare_config, validate_config

    (config,) = documents(text)
    try:
        logging.disable(logging.INFO)
        prepared = prepare_config(config)
        validate_config(prepared)
    except Exception as error:
        return [str(error)]
    finally:
        logging.disable(logging.NOTSET)
    cloud = config["provider"]["type"]
    complaints = shape(config["provider"], PROVIDER, "provider")
    head = config["head_node_type"]
    for name, node in config["available_node_types"].items():
        complaints += shape(
            node["node_config"], {"aws": EC2, "gcp": GCE}[cloud], f"{name}.node_config"
        )
        spot = {"InstanceMarketOptions", "scheduling"} & node["node_config"].keys()
        cpus = node["resources"].get("CPU")
        if name == head and (cpus != 0 or spot or node["max_workers"] != 0):
            complaints.append("the head must have 0 CPUs and not be spot")
        if name != head and (not cpus or not node["resources"].get("memory") or not spot):
            complaints.append(f"{name} must declare CPUs and memory and be spot")
        if name != head and node["min_workers"] != 0:
            complaints.append(f"{name} costs money without a run")
        if cloud == "aws" and not node["node_config"].get("SecurityGroupIds"):
            complaints.append(f"{name}: the security group that Ray makes is open to all")
    for key in ("setup_commands", "head_setup_commands", "worker_setup_commands"):
        foreign = set(prepared[key]) - {
            c for k in config if k.endswith("commands") for c in config[k]
        }
        complaints += [f"{key} has a default of Ray: {command}" for command in foreign]
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        for command in config[key]:
            if not command.startswith(". ~/dedupe/node.sh && "):
                complaints.append(f"{key} lacks the environment: {command}")
    starts = [line for c in config["head_start_ray_commands"] for line in commands(c, "ray")]
    if not any("--num-cpus=0" in line and "--head" in line for line in starts):
        complaints.append("the head is not started with --num-cpus=0")
    for key in config:
        if key.endswith("commands"):
            for command in config[key]:
                complaints += shell(command + "\n") + ray_lines(command)
    if "~/.ray/auth_token" not in config["file_mounts"]:
        complaints.append("nodes get no token")
    complaints += [
        f"{local} is not in the checkout"
        for local in config["file_mounts"].values()
        if local.startswith("./") and local != "./dist" and not (REPOSITORY / local).exists()
    ]
    return complaints


def ec2_model(text):
    """Every node_config is what the EC2 client takes for RunInstances."""
    session = pytest.importorskip("botocore.session").get_session()
    from botocore.validate import ParamValidator

    takes = session.get_service_model("ec2").operation_model("RunInstances").input_shape
    (config,) = documents(text)
    return [
        f"{name}: {report.generate_report()}"
        for name, node in config["available_node_types"].items()
        for report in [
            ParamValidator().validate({**node["node_config"], "MinCount": 1, "MaxCount": 1}, takes)
        ]
        if report.has_errors()
    ]


# Kubernetes


def strict(schema):
    """The schema with unknown fields refused, unless it wants them preserved."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {
            "type": ["integer", "string"],
            **{k: v for k, v in schema.items() if k == "pattern"},
        }
    made = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict):
        made["properties"] = {k: strict(v) for k, v in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    if schema.get("nullable"):
        made["type"] = [schema["type"], "null"]
    return made


SCHEMA_OF = {}


def kuberay_schema(text):
    """KubeRay's schema, made strict."""
    complaints = []
    for manifest in documents(text):
        kind = manifest["kind"]
        if kind not in SCHEMA_OF:
            path = SCHEMAS / f"kuberay-{kind}-v1.json"
            if not path.is_file():
                pytest.skip("no schemas of KubeRay beside this checkout")
            SCHEMA_OF[kind] = jsonschema.Draft7Validator(strict(json.loads(path.read_text())))
        complaints += [
            f"{'.'.join(map(str, error.path))}: {error.message}"
            for error in SCHEMA_OF[kind].iter_errors(manifest)
        ]
        complaints += shape(
            {k: v for k, v in manifest.items() if k != "spec"},
            {"apiVersion": {"ray.io/v1"}, "kind": str, "metadata": {"name": str}},
            kind,
        )
    return complaints


LABELS = {"*": str}
PEER = {"podSelector": {"matchLabels": LABELS}, "namespaceSelector": {"matchLabels": LABELS}}
BASE = {
    "ServiceAccount": {
        "apiVersion": {"v1"},
        "kind": str,
        "metadata": {"name": str, "annotations": LABELS},
    },
    "NetworkPolicy": {
        "apiVersion": {"networking.k8s.io/v1"},
        "kind": str,
        "metadata": {"name": str},
        "spec": {
            "podSelector": {"matchLabels": LABELS},
            "policyTypes": [{"Ingress"}],
            "ingress": [{"from": [PEER], "ports": [{"port": int, "protocol": {"TCP"}}]}],
        },
    },
}


def kuberay_base(text):
    """Known fields only; every rule says from where and, but for our own pods, to which port."""
    complaints = []
    for manifest in documents(text):
        complaints += shape(manifest, BASE[manifest["kind"]], manifest["kind"])
        if manifest["kind"] == "NetworkPolicy" and not complaints:
            ours = manifest["spec"]["podSelector"]
            for rule in manifest["spec"]["ingress"]:
                sources = rule.get("from")
                if not sources or not (rule.get("ports") or sources == [{"podSelector": ours}]):
                    complaints.append(f"a rule is open to all: {rule}")
    return complaints


def cluster_spec(manifest):
    spec = manifest["spec"]
    return spec["rayClusterSpec"] if manifest["kind"] == "RayJob" else spec


def gibibytes(quantity):
    return int(re.fullmatch(r"(\d+)Gi", quantity)[1])


def kuberay_promises(text):
    """What the schema cannot say."""
    (manifest,) = documents(text)
    spec = cluster_spec(manifest)
    complaints = []
    if spec.get("authOptions") != {"mode": "token"}:
        complaints.append("no token")
    if spec["headGroupSpec"]["rayStartParams"].get("num-cpus") != "0":
        complaints.append("the head has CPUs: num-cpus must be 0")
    if spec["headGroupSpec"]["serviceType"] != "ClusterIP":
        complaints.append("the head can be reached from outside")
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for group in groups:
        parameters = [f"--{k}={v}" for k, v in group["rayStartParams"].items()]
        complaints += parses(ray_cli(), "start", ["--head", *parameters])
        if "dashboard-host" in group["rayStartParams"]:
            complaints.append("dashboard-host is the operator's")
    for group in spec["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        start = group["rayStartParams"]
        if start["num-cpus"] != limits["cpu"]:
            complaints.append("workers declare other CPUs than they have")
        if int(start["memory"]) > (gibibytes(limits["memory"]) - 6) << 30:
            complaints.append("workers declare memory that Ray needs")
        if group["minReplicas"] != 0 or not group["template"]["spec"].get("tolerations"):
            complaints.append("workers are not spot, or cost money without a run")
    templates = [group["template"] for group in groups]
    if manifest["kind"] == "RayJob":
        job = manifest["spec"]
        templates.append(job["submitterPodTemplate"])
        if not job.get("shutdownAfterJobFinishes") or not job.get("backoffLimit"):
            complaints.append("the job does not end its cluster, or does not go on")
        complaints += dedupe_lines(job["entrypoint"])
    containers = [c for template in templates for c in template["spec"]["containers"]]
    for template in templates:
        pod = template["spec"]
        if template["metadata"]["labels"] != {"app.kubernetes.io/part-of": "dedupe"}:
            complaints.append("a pod without the label of the NetworkPolicy")
        context = pod.get("securityContext", {})
        if not context.get("runAsNonRoot") or context.get("runAsUser") != 1000:
            complaints.append("a pod may run as root")
        if {"hostNetwork", "hostPID", "hostIPC"} & pod.keys():
            complaints.append("a pod shares the host's namespaces")
    shm = {"name": "shm", "mountPath": "/dev/shm"}
    for container in containers:
        resources = container["resources"]
        if resources["requests"] != resources["limits"]:
            complaints.append(f"{container['name']}: requests are not the limits")
        context = container.get("securityContext")
        if context != {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}:
            complaints.append(f"{container['name']} has privileges")
        if container["name"] != "ray-job-submitter" and shm not in container["volumeMounts"]:
            complaints.append(f"{container['name']} has no /dev/shm for the object store")
    if len({container["image"] for container in containers}) != 1:
        complaints.append("more than one image")
    if len({str(c.get("env")) for c in containers if c["name"] != "ray-job-submitter"}) != 1:
        complaints.append("head and workers have other environments")
    return complaints


# Shell and Docker


def tool(name):
    """A linter, from this environment or from the system; skips where there is none."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"no {name} here")
    return found


def checked(*command, text):
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    return [(done.stdout + done.stderr).strip()] if done.returncode else []


def shell(text):
    return checked("bash", "-n", text=text)


def shellcheck(text):
    return checked(tool("shellcheck"), "--shell=bash", "--format=gcc", "-", text=text)


SBATCH = {
    *("job-name", "output", "error", "open-mode", "nodes", "ntasks-per-node", "cpus-per-task"),
    *("mem", "time", "exclusive", "requeue", "no-kill", "signal"),
    *("partition", "account", "qos", "constraint"),
}


def slurm(text):
    """Known options; and what resuming and the token need."""
    options = dict(
        option.partition("=")[::2] for option in re.findall(r"^#SBATCH --(.*)$", text, re.MULTILINE)
    )
    complaints = [f"unknown option --{name} of sbatch" for name in options.keys() - SBATCH]
    wanted = {"open-mode": "append", "ntasks-per-node": "1"}
    for name in ("requeue", "exclusive", "no-kill", *wanted):
        if options.get(name) != (value := wanted.get(name, "")):
            complaints.append(f"--{name} must be {value!r}")
    for needed in ("umask 077", "RAY_AUTH_TOKEN_PATH=", "RAY_TMPDIR=", "scontrol requeue", " USR1"):
        if needed not in text:
            complaints.append(f"{needed} is missing")
    if not any(line[:1] == ["symmetric-run"] for line in commands(text, "ray")):
        complaints.append("no symmetric-run")
    return complaints


def hadolint(text):
    return checked(tool("hadolint"), "-", text=text)


def dockerfile(text):
    """Pinned, not root, no secrets, and copies nothing that is ignored."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    complaints = [
        f"FROM {image} is not pinned"
        for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE)
        if not re.fullmatch(rf"python:{re.escape(PYTHON)}\.\d+-slim-\w+", image)
    ]
    users = re.findall(r"^USER (\S+)", text, re.MULTILINE)
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        complaints.append("it runs as root: USER must be a number")
    if re.search(r"^(ENV|ARG)\b.*(TOKEN|SECRET|PASSWORD|KEY)", text, re.MULTILINE):
        complaints.append("a secret")
    if re.search(r"^ADD ", text, re.MULTILINE):
        complaints.append("ADD")
    if not re.search(r"NUMBA_CACHE_DIR=.*dedupe\.kernels import load; load", text, re.DOTALL):
        complaints.append("kernels are not compiled in the image")
    let_in = {
        line[1:] for line in text_of("Dockerfile.dockerignore").split() if line.startswith("!")
    }
    taken = set(re.findall(r"type=bind,source=([^,\s]+)", text))
    for copied in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE):
        taken.update(copied.split())
    complaints += [f"{name} is ignored" for name in sorted(taken - let_in)]
    complaints += [f"{name} is not there" for name in taken if not (REPOSITORY / name).exists()]
    return complaints


# Every file


def versions(text):
    """Ray, Python, the package and all that constraints.txt pins are the same everywhere."""
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)$", text_of("constraints.txt"), re.MULTILINE))
    complaints = []
    found = re.findall(
        r"ray(?:\[default\])?==([\d.]+)|rayVersion: \"([\d.]+)\"|\bRay (2\.\d+(?:\.\d+)?)", text
    )
    complaints += [
        f"Ray {version}, not {RAY}"
        for version in filter(None, (a or b or c for a, b, c in found))
        if not f"{RAY}.".startswith(f"{version}.")
    ]
    found = re.findall(r"(?:python:|--python |\bPython |python)(3\.\d+)", text)
    complaints += [f"Python {v}, not {PYTHON}" for v in found if v != PYTHON]
    found = re.findall(r"dedupe_engine-([^-]+)-py3|/dedupe:([\w.]+)", text)
    complaints += [
        f"dedupe {a or b}, not {__version__}" for a, b in found if (a or b) != __version__
    ]
    complaints += [
        f"{name}=={version}, not {pinned.get(name)}"
        for name, version in re.findall(r"['\"]([a-z0-9-]+)==([\d.]+)['\"]", text)
        if pinned.get(name) != version
    ]
    complaints += [
        f"{name}, not 20000"
        for name in re.findall(
            r"RAY_grpc_client_keepalive_time(?:out)?_ms(?:=|\s+value: )\"?(?!20000\b)\w+", text
        )
    ]
    return complaints


SECRETS = (
    r"\b[0-9a-f]{32,}\b",
    r"\bAKIA[0-9A-Z]{16}\b",
    r"-----BEGIN ",
    r"\bRAY_AUTH_TOKEN=(?![$\s]|\"?\$)\S+",
    r"name: RAY_AUTH_TOKEN\s+value:",
    r"auth_token: (?!~)\S",
)


def exposures(text):
    """Nothing listens to the world, nothing has a token in it."""
    complaints = [
        f"{open_to} is all interfaces" for open_to in ("0.0.0.0", "[::]") if open_to in text
    ]
    complaints += [
        f"the dashboard listens on {host}"
        for host in re.findall(r"dashboard-host[=: ]+[\"']?([^\s\"']+)", text)
        if host != "127.0.0.1"
    ]
    complaints += [f"a secret: {found[0]}" for s in SECRETS if (found := re.search(s, text))]
    return complaints


def fenced(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def readme(text):
    """Code blocks are what they say."""
    complaints = [c for block in fenced(text, "yaml") for c in ([] if documents(block) else ["?"])]
    for block in fenced(text, "sh"):
        complaints += shell(block) + shellcheck(block) + dedupe_lines(block) + ray_lines(block)
    return complaints


def links(text):
    """Links, anchors and names of files lead somewhere."""
    complaints = []
    outside = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", outside, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
    for target in re.findall(r"\]\(([^)\s]+)\)", outside):
        path, _, anchor = target.partition("#")
        if target.startswith("https://"):
            continue
        if path and not (CLUSTER / path).exists():
            complaints.append(f"{target} is not there")
        if not path and anchor not in anchors:
            complaints.append(f"no heading for #{anchor}")
    named = set(re.findall(r"`([\w.-]+\.(?:yaml|sh|txt)|Dockerfile)`", outside))
    complaints += [f"{name} is not there" for name in named if not (CLUSTER / name).exists()]
    return complaints


EVERY = (versions, exposures)
FILES = {
    "README.md": (readme, links),
    "aws.yaml": (launcher, ec2_model),
    "gcp.yaml": (launcher,),
    "kuberay-base.yaml": (kuberay_base,),
    "kuberay-cluster.yaml": (kuberay_schema, kuberay_promises),
    "kuberay-job.yaml": (kuberay_schema, kuberay_promises),
    "Dockerfile": (hadolint, dockerfile),
    "Dockerfile.dockerignore": (),
    "constraints.txt": (),
    "slurm.sh": (shell, shellcheck, slurm, dedupe_lines, ray_lines),
}


def test_every_file_is_checked():
    assert {path.name for path in CLUSTER.iterdir()} == set(FILES)


@pytest.mark.parametrize(
    ("name", "check"),
    [(name, check) for name, checks in FILES.items() for check in (*checks, *EVERY)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_file_passes(name, check):
    assert check(text_of(name)) == []


def test_job_and_cluster_have_the_same_nodes():
    job, cluster = (
        cluster_spec(documents(text_of(f"kuberay-{name}.yaml"))[0]) for name in ("job", "cluster")
    )
    assert job == cluster


def test_launcher_files_differ_only_where_the_clouds_do():
    aws, gcp = (documents(text_of(f"{name}.yaml"))[0] for name in ("aws", "gcp"))
    for key in aws.keys() - {"provider", "available_node_types", "setup_commands"}:
        assert aws[key] == gcp[key]
    different = [
        pair for pair in zip(aws["setup_commands"], gcp["setup_commands"], strict=True)
        if pair[0] != pair[1]
    ]  # fmt: skip
    assert len(different) == 1


def fits(line, cpus, memory, nodes):
    """Whether that many workers have a place on the nodes."""
    given = dict(itertools.pairwise(line))
    size = int(given["--memory"].removesuffix("GB")) * 10**9
    return int(given["--workers"]) <= nodes * min(
        cpus // int(given["--worker-cpus"]), memory // size
    )


def test_the_workers_that_are_asked_for_have_a_place():
    blocks = fenced(text_of("README.md"), "sh")
    lines = [line for b in blocks for line in commands(b, "dedupe") if "--workers" in line]
    (job,) = documents(text_of("kuberay-job.yaml"))
    lines += commands(job["spec"]["entrypoint"], "dedupe")
    assert len(lines) >= 5
    offers = []
    for name in ("aws.yaml", "gcp.yaml"):
        (config,) = documents(text_of(name))
        node = config["available_node_types"]["worker"]["resources"]
        offers.append((node["CPU"], node["memory"], config["max_workers"]))
    (group,) = cluster_spec(job)["workerGroupSpecs"]
    start = group["rayStartParams"]
    offers.append((int(start["num-cpus"]), int(start["memory"]), group["maxReplicas"]))
    assert all(fits(line, *offer) for line in lines for offer in offers)


BROKEN = [
    # what Ray's own check finds
    ("aws.yaml", launcher, "idle_timeout_minutes", "idle_timeout_minute", "idle_timeout_minute"),
    ("aws.yaml", launcher, "head_node_type: head", "head_node_type: heads", "head_node_type"),
    ("gcp.yaml", launcher, '"CPU": 16,', '"CPU": 16.5,', "16.5"),
    # what it does not
    (
        "aws.yaml",
        launcher,
        "InstanceMarketOptions:",
        "InstanceMarketOption:",
        "InstanceMarketOption",
    ),
    ("aws.yaml", launcher, "HttpTokens: required", "HttpTokens: optional", "HttpTokens"),
    ("aws.yaml", launcher, "VolumeSize: 60", "VolumeSize: 60GB", "VolumeSize"),
    ("aws.yaml", launcher, "cache_stopped_nodes: false", "cache_stopped_nodes: true", "cache"),
    ("aws.yaml", launcher, "      SecurityGroupIds: *groups\n", "", "open to all"),
    ("aws.yaml", launcher, 'resources: {"CPU": 0}', 'resources: {"CPU": 1}', "0 CPUs"),
    ("aws.yaml", launcher, "head_setup_commands: []\n", "", "default of Ray"),
    ("aws.yaml", launcher, "--num-cpus=0 ", "", "--num-cpus=0"),
    ("aws.yaml", launcher, "--num-cpus=0", "--num-cpu=0", "--num-cpu"),
    ("aws.yaml", launcher, "  ~/.ray/auth_token: ~/.ray/auth_token\n", "", "no token"),
    ("aws.yaml", launcher, "./cluster", "./clusters", "./clusters"),
    ("aws.yaml", launcher, "ulimit -n 65536 &&", "ulimit -n 65536 && (", "syntax error"),
    ("aws.yaml", ec2_model, "InstanceType: m7i.4xlarge", "InstanceTyp: m7i.4xlarge", "InstanceTyp"),
    ("gcp.yaml", launcher, "provisioningModel", "provisionigModel", "provisionigModel"),
    ("gcp.yaml", launcher, "automaticRestart: false", "automaticRestart: true", "automaticRestart"),
    ("gcp.yaml", launcher, "scopes:", "scope:", "scope"),
    (
        "gcp.yaml",
        launcher,
        "min_workers: 0\n    max_workers: 8",
        "min_workers: 1\n    max_workers: 8",
        "costs money",
    ),
    ("gcp.yaml", launcher, ". ~/dedupe/node.sh && ulimit", "ulimit", "environment"),
    # Kubernetes
    ("kuberay-cluster.yaml", kuberay_schema, "rayStartParams:", "rayStartParam:", "rayStartParam"),
    ("kuberay-cluster.yaml", kuberay_schema, 'num-cpus: "16"', "num-cpus: 16", "16"),
    ("kuberay-cluster.yaml", kuberay_schema, "mountPath:", "mountpath:", "mountpath"),
    ("kuberay-cluster.yaml", kuberay_schema, "mode: token", "mode: tokens", "tokens"),
    ("kuberay-cluster.yaml", kuberay_schema, "ray.io/v1\n", "ray.io/v1alpha1\n", "apiVersion"),
    ("kuberay-job.yaml", kuberay_schema, "backoffLimit: 10", "backofflimit: 10", "backofflimit"),
    ("kuberay-job.yaml", kuberay_schema, "backoffLimit: 10", "backoffLimit: ten", "ten"),
    ("kuberay-job.yaml", kuberay_schema, "sizeLimit: 2Gi", "sizeLimit: lots", "lots"),
    ("kuberay-job.yaml", kuberay_promises, "--worker-cpus 4", "--worker-cpu 4", "--worker-cpu"),
    ("kuberay-job.yaml", kuberay_promises, "backoffLimit: 10", "backoffLimit: 0", "go on"),
    ("kuberay-job.yaml", kuberay_promises, "drop: [ALL]", "drop: [CHOWN]", "privileges"),
    ("kuberay-job.yaml", kuberay_promises, "runAsNonRoot: true", "runAsNonRoot: false", "root"),
    (
        "kuberay-job.yaml",
        kuberay_promises,
        "REGISTRY/dedupe:0.2.0 # CHANGE: the",
        "R/d # the",
        "image",
    ),
    ("kuberay-cluster.yaml", kuberay_promises, 'num-cpus: "0"', 'num-cpus: "4"', "num-cpus"),
    (
        "kuberay-cluster.yaml",
        kuberay_promises,
        "object-store-memory:",
        "object-memory:",
        "object-memory",
    ),
    (
        "kuberay-cluster.yaml",
        kuberay_promises,
        'limits: {cpu: "16"',
        'limits: {cpu: "17"',
        "limits",
    ),
    (
        "kuberay-cluster.yaml",
        kuberay_promises,
        'memory: "51539607552"',
        'memory: "64424509440"',
        "memory",
    ),
    (
        "kuberay-cluster.yaml",
        kuberay_promises,
        "serviceType: ClusterIP",
        "serviceType: NodePort",
        "outside",
    ),
    (
        "kuberay-cluster.yaml",
        kuberay_promises,
        "mountPath: /dev/shm",
        "mountPath: /shm",
        "/dev/shm",
    ),
    ("kuberay-base.yaml", kuberay_base, "policyTypes", "policyType", "policyType"),
    ("kuberay-base.yaml", kuberay_base, "port: 8080", "port: http", "port"),
    (
        "kuberay-base.yaml",
        kuberay_base,
        "        - port: 8080\n          protocol: TCP\n",
        "        []\n",
        "open to all",
    ),
    # Slurm
    ("slurm.sh", shell, "\n}\n", "\n", "syntax error"),
    ("slurm.sh", shellcheck, 'mkdir -p "$RAY_TMPDIR"', "mkdir -p $RAY_TMPDIR", "SC2086"),
    ("slurm.sh", slurm, "#SBATCH --requeue", "#SBATCH --reque", "--reque"),
    ("slurm.sh", slurm, "#SBATCH --exclusive\n", "", "--exclusive"),
    ("slurm.sh", slurm, "umask 077", "umask 022", "umask"),
    ("slurm.sh", ray_lines, "--min-nodes", "--head --min-nodes", "--head"),
    ("slurm.sh", ray_lines, "--object-store-memory=", "--object-memory=", "--object-memory"),
    ("slurm.sh", dedupe_lines, "--work-dir", "--workdir", "--workdir"),
    ("slurm.sh", dedupe_lines, "WORKER_CPUS:-4", "WORKER_CPUS:-four", "four"),
    # Docker
    ("Dockerfile", hadolint, "WORKDIR /src", "WORKDIR src", "DL3000"),
    ("Dockerfile", dockerfile, "python:3.11.13-slim-bookworm\n", "python:3.11\n", "not pinned"),
    ("Dockerfile", dockerfile, "USER 1000:1000\n", "", "root"),
    ("Dockerfile", dockerfile, "USER 1000:1000\n", "USER root\n", "root"),
    ("Dockerfile", dockerfile, "ARG CPU=", "ARG RAY_AUTH_TOKEN=", "secret"),
    ("Dockerfile", dockerfile, "COPY dedupe ", "COPY dedupe tests ", "tests is ignored"),
    (
        "Dockerfile",
        dockerfile,
        'RUN python -c "from dedupe.kernels import load; load(print)"',
        "",
        "kernels",
    ),
    # everywhere
    ("aws.yaml", versions, "ray[default]==2.60.0", "ray[default]==2.59.0", "2.59.0"),
    ("gcp.yaml", versions, "--python 3.11", "--python 3.12", "3.12"),
    ("gcp.yaml", versions, "keepalive_timeout_ms=20000", "keepalive_timeout_ms=30000", "30000"),
    ("kuberay-job.yaml", versions, 'rayVersion: "2.60.0"', 'rayVersion: "2.9.0"', "2.9.0"),
    ("kuberay-job.yaml", versions, 'value: "20000"', 'value: "2000"', "2000"),
    ("Dockerfile", versions, f"dedupe_engine-{__version__}", "dedupe_engine-9.9", "9.9"),
    ("README.md", versions, '"numba==', '"numba==0.', "numba"),
    ("constraints.txt", versions, "\nray==2.60.0", "\nray==2.61.0", "2.61.0"),
    ("aws.yaml", exposures, "--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "0.0.0.0"),
    (
        "aws.yaml",
        exposures,
        "--dashboard-host=127.0.0.1",
        "--dashboard-host=$RAY_HEAD_IP",
        "RAY_HEAD",
    ),
    ("gcp.yaml", exposures, "RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN=swordfish", "swordfish"),
    ("slurm.sh", exposures, "secrets.token_hex(32)", f"'{'0a' * 32}'", "secret"),
    # README
    (
        "README.md",
        readme,
        "--worker-cpus 4 \\\n    --memory 12GB",
        "--worker-cpus x",
        "worker-cpus",
    ),
    ("README.md", readme, "ray up --yes", "ray up --yess", "--yess"),
    ("README.md", readme, "ray job submit --address", "ray job submit --adress", "--adress"),
    ("README.md", readme, "; do\n    ray start", "\n    ray start", "syntax error"),
    ("README.md", readme, 'rm -rf "$PLACE"', "rm -rf $PLACE", "SC2086"),
    ("README.md", links, "(#size)", "(#sise)", "#sise"),
    ("README.md", links, "how-to/resume.md", "how-to/resumes.md", "resumes.md"),
    ("README.md", links, "`slurm.sh`", "`slum.sh`", "slum.sh"),
]


@pytest.mark.parametrize(
    ("name", "check", "old", "new", "said"),
    BROKEN,
    ids=[f"{name}-{check.__name__}-{said}" for name, check, _, _, said in BROKEN],
)
def test_a_broken_copy_is_refused(name, check, old, new, said):
    text = text_of(name)
    assert old in text
    complaints = check(text.replace(old, new))
    assert any(said in complaint for complaint in complaints), complaints


def test_a_key_given_twice_is_refused():
    with pytest.raises(yaml.YAMLError, match="given twice"):
        documents(text_of("aws.yaml").replace("head_node_type: head", "max_workers: 2"))
