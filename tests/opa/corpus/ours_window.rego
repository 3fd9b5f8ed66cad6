package window

minutes(text) := (number(h) * 60) + number(m) if [h, m] := split(text, ":")

number(text) := to_number(text) if not startswith(text, "0")

number(text) := to_number(substring(text, 1, -1)) if startswith(text, "0")

bounds := [minutes(edge) | some edge in split(input.target.metadata.annotations.window, "-")]

now_ := minutes(substring(input.now.rfc3339, 11, 5))

open if {
	bounds[0] <= now_
	now_ < bounds[1]
}

weekend if input.now.weekday in {"Saturday", "Sunday"}

deny contains sprintf("outside %s (%d)", [input.target.metadata.annotations.window, now_]) if {
	not open
	not weekend
}
