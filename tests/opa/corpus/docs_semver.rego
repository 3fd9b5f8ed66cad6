package semver_

valid := [v | some v in input.versions; semver.is_valid(v)]

newer := [v | some v in input.versions; semver.compare(v, "1.9.9") > 0]

older := [v | some v in input.versions; semver.compare(v, "1.9.9") < 0]

bad := semver.is_valid("1.2")
