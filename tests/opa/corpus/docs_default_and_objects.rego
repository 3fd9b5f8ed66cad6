package objects

default mode := "strict"

mode := "relaxed" if input.action.namespace == "sandbox"

merged := object.union(input.target.metadata.labels, {"team": "other", "extra": true})

picked := object.filter(input.target.metadata.labels, ["app"])

without := object.remove(input.target.metadata.labels, ["app"])

nested := object.get(input.target, ["spec", "template", "spec", "hostNetwork"], true)

absent := object.get(input.target, ["spec", "nothing", "here"], "none")

keys := sort(object.keys(input.target.metadata))

sub := object.subset(input.target.metadata.labels, {"app": "web"})

all := object.union_n([{"a": 1}, {"b": {"c": 2}}, {"b": {"d": 3}}])
