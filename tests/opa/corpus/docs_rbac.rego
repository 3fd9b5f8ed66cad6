package app.rbac

default allow := false

allow if user_is_admin

allow if {
	some grant in user_is_granted
	grant.action == "write"
	grant.type == "workload"
}

user_is_admin if "admin" in input.user.groups

user_is_granted contains grant if {
	some group in input.user.groups
	some grant in input.grants[group]
}
