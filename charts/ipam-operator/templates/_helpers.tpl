{{/* Names and labels. The release `ipam-operator` is called just so. */}}
{{- define "ipam.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if regexMatch "^[0-9]" .Release.Name -}}
{{- /* A Service's name begins with a letter. */ -}}
{{- printf "ipam-operator-%s" (.Release.Name | trunc 36 | trimSuffix "-") -}}
{{- else if contains "ipam-operator" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-ipam-operator" (.Release.Name | trunc 36 | trimSuffix "-") -}}
{{- end -}}
{{- end }}

{{/* Labels of people beside ours, each once: the first of these that has it. Takes a list of mappings. */}}
{{- define "ipam.otherLabels" -}}
{{- $all := dict -}}
{{- range . -}}{{- $all = merge $all (. | default dict) -}}{{- end -}}
{{- with $all -}}{{- toYaml . -}}{{- end -}}
{{- end }}

{{- define "ipam.labels" -}}
{{- include "ipam.labelsAnd" (dict "context" . "more" dict) -}}
{{- end }}

{{/* The same with more of them, which win over `commonLabels`: {context, more}. */}}
{{- define "ipam.labelsAnd" -}}
{{- with .context -}}
app.kubernetes.io/name: ipam-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}
{{- with include "ipam.otherLabels" (list .more .context.Values.commonLabels) }}
{{ . }}
{{- end }}
{{- end }}

{{/* What a Deployment may never change: nothing that comes with a version. */}}
{{- define "ipam.selectorLabels" -}}
app.kubernetes.io/name: ipam-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "ipam.postgresSelectorLabels" -}}
app.kubernetes.io/name: ipam-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: postgres
{{- end }}

{{/* At most 50 letters: CloudNativePG takes no more, and a StatefulSet's pods have two dozen less than other names. */}}
{{- define "ipam.postgresName" -}}
{{ include "ipam.fullname" . | trunc 41 | trimSuffix "-" }}-postgres
{{- end }}

{{- define "ipam.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "ipam.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{/* An image by digest if there is one, else by tag. Takes {image, tag}. */}}
{{- define "ipam.image" -}}
{{- $name := .image.repository -}}
{{- with .image.registry }}{{ $name = printf "%s/%s" . $name }}{{ end -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (.image.tag | default .tag) -}}
{{- end -}}
{{- end }}

{{/* Whose URLs are where, as a mapping: {operator: {name, key}}, and the schema's {owner: {name, key}} where that is another. */}}
{{- define "ipam.databaseSecrets" -}}
{{- $database := .Values.database -}}
{{- if eq $database.mode "bundled" -}}
operator: {name: {{ include "ipam.operatorSecret" . | quote }}, key: url}
owner: {name: {{ include "ipam.bundledSecret" . | quote }}, key: url}
{{- else if eq $database.mode "cloudnativepg" -}}
operator: {name: {{ include "ipam.operatorSecret" . | quote }}, key: url}
owner: {name: {{ include "ipam.postgresName" . }}-app, key: uri}
{{- else -}}
{{- $external := $database.external -}}
{{- if $external.url -}}
operator: {name: {{ include "ipam.fullname" . }}-database, key: url}
{{- else -}}
operator: {name: {{ required "database.external needs an existingSecret, or an url" $external.existingSecret | quote }}, key: {{ $external.key | quote }}}
{{- end }}
{{- with $external.ownerSecret }}
{{- if .name }}
owner: {name: {{ .name | quote }}, key: {{ .key | quote }}}
{{- end }}
{{- end }}
{{- end -}}
{{- end }}

{{/* Of the bundled database: the Secret of the schema's owner. */}}
{{- define "ipam.bundledSecret" -}}
{{- default (printf "%s-database" (include "ipam.fullname" .)) .Values.database.bundled.existingSecret -}}
{{- end }}

{{/* Of the two databases that the chart makes: the Secret of the operator's own login. */}}
{{- define "ipam.operatorSecret" -}}
{{- $its := index .Values.database .Values.database.mode -}}
{{- if and (eq .Values.database.mode "bundled") $its.existingSecret -}}
{{- required "database.bundled.operatorSecret is needed beside existingSecret: a Secret with the keys password and url of the login ipam_service" $its.operatorSecret -}}
{{- else -}}
{{- default (printf "%s-database-login" (include "ipam.fullname" .)) $its.operatorSecret -}}
{{- end -}}
{{- end }}

{{/* Where the API server is, as peers of a NetworkPolicy; nothing: anywhere. */}}
{{- define "ipam.apiServerPeers" -}}
{{- $peers := list -}}
{{- range .Values.networkPolicy.apiServer.cidrs -}}{{- $peers = append $peers (dict "ipBlock" (dict "cidr" .)) -}}{{- end -}}
{{- with $peers -}}{{- toYaml . -}}{{- end -}}
{{- end }}

{{/* Of the webhook that is told who deletes: the Secret with its token. */}}
{{- define "ipam.webhookName" -}}
{{ include "ipam.fullname" . }}-webhook
{{- end }}

{{/* The password in a Secret of ours, which is made once: {context, name}. */}}
{{- define "ipam.password" -}}
{{- $known := (lookup "v1" "Secret" .context.Release.Namespace .name).data | default dict -}}
{{- if $known.password -}}{{ b64dec $known.password }}{{- else -}}{{ randAlphaNum 32 }}{{- end -}}
{{- end }}

{{/* PostgreSQL's own variables for a protected connection, and where its certificates lie. Takes {mode, caSecret, clientSecret}. */}}
{{- define "ipam.tlsEnv" -}}
{{- with .mode -}}
- name: PGSSLMODE
  value: {{ . }}
{{- end }}
{{- if .caSecret }}
- name: PGSSLROOTCERT
  value: /etc/ipam/database-ca/ca.crt
{{- end }}
{{- if .clientSecret }}
- name: PGSSLCERT
  value: /etc/ipam/database-client/tls.crt
- name: PGSSLKEY
  value: /etc/ipam/database-client/tls.key
{{- end }}
{{- end }}

{{/* How the operator reaches its store. Takes {values, secret: {name, key}, tls}. */}}
{{- define "ipam.databaseEnv" -}}
- name: IPAM_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .secret.name | quote }}
      key: {{ .secret.key | quote }}
{{- with .values.database.external.passwordSecret }}
{{- if and .name (eq $.values.database.mode "external") }}
- name: PGPASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ .name | quote }}
      key: {{ .key | quote }}
{{- end }}
{{- end }}
{{- with include "ipam.tlsEnv" .tls | trim }}
{{ . }}
{{- end }}
{{- end }}

{{/* Variables of the operator's container. Takes {context, secrets, tls}. */}}
{{- define "ipam.operatorEnv" -}}
{{- $webhook := .context.Values.admission.recordDeletions -}}
# Kopf's name of this process; without it Kopf asks for the user's name, which not every UID has.
- name: POD_ID
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: IPAM_HEALTH_HOST
  value: {{ .context.Values.health.host | quote }}
- name: IPAM_HEALTH_PORT
  value: {{ .context.Values.health.port | quote }}
{{ include "ipam.databaseEnv" (dict "values" .context.Values "secret" .secrets.operator "tls" .tls) }}
{{- if and .secrets.owner (not (hasKey .context.Values.settings "migrate")) }}
- name: IPAM_MIGRATE
  value: "false"
{{- end }}
{{- if $webhook.enabled }}
- name: IPAM_WEBHOOK_DIRECTORY
  value: /etc/ipam/webhook
- name: IPAM_WEBHOOK_HOST
  value: {{ .context.Values.health.host | quote }}
- name: IPAM_WEBHOOK_PORT
  value: {{ $webhook.port | quote }}
{{- end }}
{{- range $name, $value := .context.Values.settings }}
- name: IPAM_{{ $name | snakecase | upper }}
  value: {{ include "ipam.setting" (dict "name" $name "value" $value) | quote }}
{{- end }}
{{- with .context.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* These variables, each once: the API server refuses what stands twice, or takes either. */}}
{{- define "ipam.once" -}}
{{- $seen := dict -}}
{{- range fromYamlArray . -}}
{{- if hasKey $seen .name -}}
{{- fail (printf "extraEnv sets %s, which is set already: by the chart, by `settings` or by extraEnv itself" .name) -}}
{{- end -}}
{{- $_ := set $seen .name true -}}
{{- end -}}
{{- . -}}
{{- end }}

{{- define "ipam.tlsMounts" -}}
{{- if .caSecret -}}
- name: database-ca
  mountPath: /etc/ipam/database-ca
  readOnly: true
{{- end }}
{{- if .clientSecret }}
- name: database-client
  mountPath: /etc/ipam/database-client
  readOnly: true
{{- end }}
{{- end }}

{{/* Constraints without a selector count the operator's own pods. */}}
{{- define "ipam.topologySpread" -}}
{{- $labels := include "ipam.selectorLabels" . | fromYaml -}}
{{- $result := list -}}
{{- range .Values.topologySpreadConstraints -}}
{{- $one := deepCopy . -}}
{{- if not (hasKey $one "labelSelector") -}}{{- $_ := set $one "labelSelector" (dict "matchLabels" $labels) -}}{{- end -}}
{{- $result = append $result $one -}}
{{- end -}}
{{- toYaml $result -}}
{{- end }}

{{/* The plural by which a kind's URL calls it, for kinds with a regular one. */}}
{{- define "ipam.plural" -}}
{{- $word := lower . -}}
{{- if regexMatch "[^aeiou]y$" $word -}}
{{- trimSuffix "y" $word }}ies
{{- else if regexMatch "(s|x|z|ch|sh)$" $word -}}
{{- $word }}es
{{- else -}}
{{- $word }}s
{{- end -}}
{{- end }}

{{/* A setting as the operator reads it from its environment. Whole numbers come out of YAML as floats. */}}
{{- define "ipam.setting" -}}
{{- if eq .name "renewKinds" -}}
{{- $kinds := list -}}
{{- range .value }}{{ $kinds = append $kinds (printf "%s/%s" .apiVersion .kind) }}{{ end -}}
{{- join "," $kinds -}}
{{- else if kindIs "float64" .value -}}
{{- if eq (floor .value) .value }}{{ int64 .value }}{{ else }}{{ .value }}{{ end -}}
{{- else -}}
{{- .value -}}
{{- end -}}
{{- end }}

{{- define "ipam.stampClaims" -}}
{{- if eq (toString .Values.admission.stampClaims) "auto" -}}
{{- .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" -}}
{{- else -}}
{{- .Values.admission.stampClaims -}}
{{- end -}}
{{- end }}

{{- define "ipam.protectStamps" -}}
{{- if eq (toString .Values.admission.protectStamps) "auto" -}}
{{- include "ipam.stampClaims" . -}}
{{- else -}}
{{- .Values.admission.protectStamps -}}
{{- end -}}
{{- end }}
