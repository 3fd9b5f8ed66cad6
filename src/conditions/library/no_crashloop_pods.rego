# No container of the target's pods is in a crash loop: waiting in CrashLoopBackOff, or restarted twice or more and not ready.
package conditions.no_crashloop_pods

import data.conditions.lib

default allow := false

looping contains [pod.name, container.name, container.restarts, object.get(container, "lastReason", "")] if {
	some pod in input.related.pods
	lib.counts(pod)
	some container in pod.containers
	crashes(container)
}

crashes(container) if container.reason == "CrashLoopBackOff"

crashes(container) if {
	container.restarts >= 2
	not container.ready
	not container.init
}

allow if count(looping) == 0

reasons contains sprintf("container %s of pod %s was restarted %d times (%s)", [one[1], one[0], one[2], one[3]]) if some one in looping
