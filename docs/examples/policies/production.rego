# What this team does not want done by machines: nothing in kube-system, nothing that changes workloads at night or at
# the weekend, and no scale to more than twice as many pods.
package action.policy

deny contains "kube-system is not touched by machines" if input.action.namespace == "kube-system"

# Hours are UTC.
deny contains sprintf("%d:00 UTC on a %s is not the time for a %s", [input.now.hour, input.now.weekday, input.action.verb]) if {
	input.action.verb in ["scale", "restart", "rollback"]
	quiet(input.now)
}

quiet(now) if now.weekday in ["Saturday", "Sunday"]

quiet(now) if now.hour >= 22

quiet(now) if now.hour < 6

deny contains sprintf("from %d to %d replicas is more than twice as many", [current, wanted]) if {
	input.action.verb == "scale"
	current := object.get(input.target.spec, "replicas", 1)
	wanted := input.parameters.replicas
	wanted > 2 * current
}
