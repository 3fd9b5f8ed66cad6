# No container of the target's pods waits for an image that cannot be pulled.
package conditions.no_image_pull_errors

import data.conditions.lib

default allow := false

failing contains [pod.name, container.image, container.reason] if {
	some pod in input.related.pods
	lib.counts(pod)
	some container in pod.containers
	container.reason in ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable"]
}

allow if count(failing) == 0

reasons contains sprintf("pod %s: %s for the image %s", [one[0], one[2], one[1]]) if some one in failing
