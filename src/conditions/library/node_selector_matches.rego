# At least one node is ready, not cordoned, and one that the pods' nodeSelector and tolerations let them go to.
package conditions.node_selector_matches

import data.conditions.lib

default allow := false

spec := input.target.spec.template.spec

allow if count(lib.fitting(input.related.nodes, spec)) > 0

reasons contains sprintf("none of %d nodes is ready, not cordoned, tolerated, and has the labels %v", [count(input.related.nodes), object.get(spec, "nodeSelector", {})]) if not allow
