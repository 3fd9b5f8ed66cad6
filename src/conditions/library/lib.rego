# What several ready conditions need: which nodes a pod may go to, and how many of it fit there.
package conditions.lib

# Nodes that are ready, not cordoned, and that the pod's nodeSelector and tolerations let it go to. Affinity is not looked at.
fitting(nodes, spec) := [node |
	some node in nodes
	node.ready
	not node.unschedulable
	selected(node, object.get(spec, "nodeSelector", {}))
	every taint in node.taints {
		tolerated(taint, object.get(spec, "tolerations", []))
	}
]

selected(node, selector) if {
	every key, value in selector {
		node.labels[key] == value
	}
}

tolerated(taint, _) if taint.effect == "PreferNoSchedule"

tolerated(taint, tolerations) if {
	some toleration in tolerations
	object.get(toleration, "effect", taint.effect) in ["", taint.effect]
	matches(taint, toleration)
}

matches(taint, toleration) if {
	object.get(toleration, "operator", "Equal") == "Exists"
	object.get(toleration, "key", "") in ["", taint.key]
}

matches(taint, toleration) if {
	object.get(toleration, "operator", "Equal") == "Equal"
	toleration.key == taint.key
	object.get(toleration, "value", "") == taint.value
}

# How many pods with these requests fit on a node beside what is there.
copies(node, requests) := max([0, min(bounds)]) if {
	bounds := array.concat(
		[node.allocatable.pods - node.requested.pods],
		array.concat(
			[floor(((node.allocatable.cpu - node.requested.cpu) / requests.cpu) + tiny) | requests.cpu > 0],
			[floor(((node.allocatable.memory - node.requested.memory) / requests.memory) + tiny) | requests.memory > 0],
		),
	)
}

# Decimal fractions are a little off: 3 times 0.1 is not 0.3.
tiny := 0.000001

# A number for people.
shown(number) := round(number * 1000) / 1000

# How many pods a workload should have.
desired(object_) := object_.status.desiredNumberScheduled if object_.kind == "DaemonSet"

desired(object_) := object.get(object_.spec, "replicas", 1) if object_.kind != "DaemonSet"

# A number of its status; the API leaves zeros out. A DaemonSet has names of its own for them.
status(object_, name) := object.get(object.get(object_, "status", {}), daemon_names[name], 0) if object_.kind == "DaemonSet"

status(object_, name) := object.get(object.get(object_, "status", {}), name, 0) if object_.kind != "DaemonSet"

daemon_names := {
	"replicas": "currentNumberScheduled",
	"readyReplicas": "numberReady",
	"updatedReplicas": "updatedNumberScheduled",
	"availableReplicas": "numberAvailable",
}

# How many of its pods are of its present template. Kinds without revisions have no other ones.
updated(object_) := status(object_, "replicas") if object_.kind in ["ReplicaSet", "ReplicationController"]

updated(object_) := status(object_, "updatedReplicas") if not object_.kind in ["ReplicaSet", "ReplicationController"]

# A pod that has run to its end (the kubelet leaves evicted ones behind) or goes says nothing of the others.
counts(pod) if {
	not pod.terminating
	not pod.phase in ["Succeeded", "Failed"]
}

# Whether its controller has seen its present spec.
observed(object_) if object_.status.observedGeneration >= object.get(object_.metadata, "generation", 0)

# How many pods a scale adds.
added(parameters, object_) := max([0, parameters.replicas - desired(object_)])
