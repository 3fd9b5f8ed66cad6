package app.abac

default allow := false

user_is_oncall if "oncall" in input.user.groups

working_hours if {
	[from, to] := split(input.target.metadata.annotations.window, "-")
	clock := substring(input.now.rfc3339, 11, 5)
	from <= clock
	clock < to
}

allow if working_hours

allow if {
	user_is_oncall
	regex.match(`^INC-[0-9]+`, input.action.reason)
}
