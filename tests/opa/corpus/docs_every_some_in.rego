package quantifiers

all_running if {
	every pod in input.related.pods {
		pod.phase == "Running"
	}
}

some_crash if {
	some pod in input.related.pods
	some container in pod.containers
	container.reason == "CrashLoopBackOff"
}

indices := [i | some i, pod in input.related.pods; pod.ready]

zones contains zone if {
	some _, node in input.related.nodes
	zone := node.labels.zone
}

empty if {
	every x in [] {
		x == 1
	}
}
