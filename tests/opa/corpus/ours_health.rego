package health

import data.health.lib

conditions := {c.type: c.status | some c in input.target.status.conditions}

stalled if {
	some c in input.target.status.conditions
	c.type == "Progressing"
	c.reason == "ProgressDeadlineExceeded"
}

ready_ratio := input.target.status.readyReplicas / input.target.spec.replicas

verdict := "stalled" if stalled

verdict := "degraded" if {
	not stalled
	ready_ratio < 1
}

recent if input.target.status.conditions[0].lastUpdateTime >= "2026-11-24T20:00:00Z"
