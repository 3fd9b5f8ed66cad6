# The Secrets that the target's template names in imagePullSecrets exist. (Whether they are right only a pull tells; what the
# ServiceAccount adds is not looked at.)
package conditions.image_pull_secrets_valid

default allow := false

missing := [secret.name | some secret in input.related.pullSecrets; not secret.exists]

allow if count(missing) == 0

reasons contains sprintf("there is no Secret %s", [name]) if some name in missing
