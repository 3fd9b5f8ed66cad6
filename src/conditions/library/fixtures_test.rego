# What the tests of several conditions need.
package conditions.fixtures

node(name, cpu, requested) := {
	"name": name,
	"ready": true,
	"unschedulable": false,
	"labels": {"disk": "ssd"},
	"taints": [],
	"allocatable": {"cpu": cpu, "memory": 8000000000, "pods": 110},
	"requested": {"cpu": requested, "memory": 0, "pods": 3},
}

scale(from, to, nodes) := {
	"parameters": {"replicas": to},
	"target": {"kind": "Deployment", "metadata": {}, "spec": {"replicas": from, "template": {"spec": {}}}},
	"related": {"nodes": nodes, "podRequests": {"cpu": 1, "memory": 0}},
}

deployment(replicas, status) := {"target": {
	"kind": "Deployment",
	"metadata": {"name": "web", "generation": 2},
	"spec": {"replicas": replicas},
	"status": status,
}}

healthy(replicas) := {
	"observedGeneration": 2,
	"replicas": replicas,
	"readyReplicas": replicas,
	"updatedReplicas": replicas,
	"availableReplicas": replicas,
	"conditions": [{"type": "Available", "status": "True"}],
}

pod(container) := {
	"name": "web-1",
	"phase": "Running",
	"terminating": false,
	"unschedulable": "",
	"controllerKind": "ReplicaSet",
	"requests": {"cpu": 1, "memory": 0},
	"containers": [object.union({"name": "app", "init": false, "image": "web:1", "ready": true, "restarts": 0, "reason": "", "lastReason": ""}, container)],
}
