package gatekeeper.hostpaths

allowed := [{"pathPrefix": "/var/log", "readOnly": true}, {"pathPrefix": "/srv"}]

violation contains {"msg": sprintf("HostPath volume %v is not allowed", [volume.hostPath.path])} if {
	some volume in input.target.spec.template.spec.volumes
	has_field(volume, "hostPath")
	not path_matches(volume.hostPath.path)
}

permitted contains volume.name if {
	some volume in input.target.spec.template.spec.volumes
	path_matches(volume.hostPath.path)
}

has_field(object_, field) if _ = object_[field]

path_matches(path) if {
	some prefix in allowed
	a := split(trim(prefix.pathPrefix, "/"), "/")
	b := split(trim(path, "/"), "/")
	count([i | some i, part in a; part == b[i]]) == count(a)
}
