{{/* What all objects have in common. */}}
{{- define "headsup.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "headsup.selector" -}}
app.kubernetes.io/name: headsup
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "headsup.labels" -}}
{{ include "headsup.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* A pod's own: nothing that it does not need. */}}
{{- define "headsup.pod" -}}
serviceAccountName: {{ include "headsup.name" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "headsup.container" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
volumeMounts:
  - { name: data, mountPath: /data }
  - { name: config, mountPath: /etc/headsup, readOnly: true }
  - { name: tmp, mountPath: /tmp }
  {{- if .Values.existingSecret }}
  - { name: secret, mountPath: /run/secrets/headsup, readOnly: true }
  {{- end }}
  {{- if .Values.kpisConfigMap }}
  - { name: kpis, mountPath: /etc/headsup-kpis, readOnly: true }
  {{- end }}
  {{- if .Values.policyConfigMap }}
  - { name: policy, mountPath: /etc/headsup-policy, readOnly: true }
  {{- end }}
{{- end }}

{{- define "headsup.volumes" -}}
- name: config
  configMap: { name: {{ include "headsup.name" . }} }
- name: tmp
  emptyDir: {}
{{- if .Values.existingSecret }}
- name: secret
  secret: { secretName: {{ .Values.existingSecret }}, defaultMode: 0440 }
{{- end }}
{{- if .Values.kpisConfigMap }}
- name: kpis
  configMap: { name: {{ .Values.kpisConfigMap }} }
{{- end }}
{{- if .Values.policyConfigMap }}
- name: policy
  configMap: { name: {{ .Values.policyConfigMap }} }
{{- end }}
{{- end }}

{{- define "headsup.serving" -}}
ports:
  - { name: http, containerPort: 8787 }
# A long replay is no reason to be killed: /healthz answers as long as the process serves.
startupProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /readyz, port: http }
  periodSeconds: 5
  timeoutSeconds: 5
resources: {{ toYaml .Values.resources | nindent 2 }}
{{- end }}

{{- define "headsup.place" -}}
"--data", "/data", "--config", "/etc/headsup/headsup.toml"
{{- end }}

{{/* KPI files and a policy in place of those built in. */}}
{{- define "headsup.kpis" -}}
{{- if .Values.kpisConfigMap }}, "--kpis", "/etc/headsup-kpis"{{ end }}
{{- end }}
{{- define "headsup.policy" -}}
{{- if .Values.policyConfigMap }}, "--policy", "/etc/headsup-policy/policy.toml"{{ end }}
{{- end }}
