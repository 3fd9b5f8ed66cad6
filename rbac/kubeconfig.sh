#!/usr/bin/env bash
# Prints a kubeconfig that holds a short-lived token of a ServiceAccount: whoever uses it has exactly the permissions that a
# Job has. Server and certificate authority are those of your present kubectl context.
#
#   (umask 077; rbac/kubeconfig.sh shop action-scale-deployment >scale.kubeconfig)
#
# The file holds a credential: the umask keeps it from others.
# KUBECTL names another kubectl, DURATION how long the token is good for (10m at least, 1h unless set).
set -euo pipefail
if [[ $# -ne 2 ]]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
namespace=$1 account=$2 kubectl=${KUBECTL:-kubectl}

token=$("$kubectl" create token "$account" --namespace "$namespace" --duration "${DURATION:-1h}")
cluster() { "$kubectl" config view --raw --minify --flatten --output "jsonpath={.clusters[0].cluster.$1}"; }
server=$(cluster server)
authority=$(cluster certificate-authority-data)

# What else it takes to reach the server: one line each, where the context has it.
more=
for field in tls-server-name proxy-url insecure-skip-tls-verify; do
    value=$(cluster "$field")
    [[ -z $value ]] || more+="    $field: $value"$'\n'
done

cat <<YAML
apiVersion: v1
kind: Config
current-context: $account
clusters:
- name: cluster
  cluster:
    server: $server
${more}${authority:+    certificate-authority-data: $authority}
users:
- name: $account
  user:
    token: $token
contexts:
- name: $account
  context:
    cluster: cluster
    user: $account
    namespace: $namespace
YAML
