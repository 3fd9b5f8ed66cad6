package glob_

star := glob.match("*.example.com", ["."], "api.example.com")

deep := glob.match("*.example.com", ["."], "a.b.example.com")

any := glob.match("**.example.com", ["."], "a.b.example.com")

class := glob.match("web-[0-9]", [], "web-3")

alternatives := glob.match("{web,api}-*", ["-"], "api-1")

quoted := glob.quote_meta("*.example.com")

images contains c.name if {
	some c in input.target.spec.template.spec.containers
	glob.match("registry.example/**", ["/"], c.image)
}
