package main

exception contains rules if {
	input.target.metadata.labels.team == "checkout"
	rules := ["run_as_root", "latest"]
}

deny_run_as_root contains "runs as root" if not input.target.spec.template.spec.securityContext.runAsNonRoot

violation_latest contains {"msg": "latest", "container": c.name} if {
	some c in input.target.spec.template.spec.containers
	endswith(c.image, ":latest")
}

effective := [rule |
	some rule in ["run_as_root", "latest", "other"]
	not rule in {r | some rs in exception; some r in rs}
]
