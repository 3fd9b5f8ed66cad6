package strings_

ticket := regex.find_n(`INC-\d+`, input.action.reason, 1)[0]

upper_ := upper(ticket)

parts := split(input.target.spec.template.spec.containers[0].image, "/")

tag := trim_prefix(regex.find_n(`:[^:/]+$`, parts[2], -1)[0], ":")

padded := sprintf("%d|%s|%.2f|%x|%v", [42, "ab", 3.14159, 255, {"a": [1, 2]}])

replaced := replace(input.target.metadata.annotations.owner, "@example.com", "")

at := indexof(input.target.metadata.annotations.owner, "@")

formatted := format_int(255, 16)

trimmed := [trim("  x ", " "), trim_space("\t y\n"), trim_left("aab", "a"), trim_right("baa", "a")]

reversed := strings.reverse("abc")

counted := strings.count("banana", "an")

has := contains(input.action.reason, "slow")

subst := regex.replace("a1b22", `[0-9]+`, "#")

joined := concat("-", ["a", "b"])
