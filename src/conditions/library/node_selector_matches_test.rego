package conditions.node_selector_matches_test

import data.conditions.node_selector_matches

import data.conditions.fixtures

target(spec) := {"target": {"spec": {"template": {"spec": spec}}}, "related": {"nodes": [object.union(fixtures.node("a", 1, 0), {"taints": [{"key": "gpu", "value": "", "effect": "NoSchedule"}]})]}}

tolerations := [{"key": "gpu", "operator": "Exists"}]

test_holds if node_selector_matches.allow with input as target({"nodeSelector": {"disk": "ssd"}, "tolerations": tolerations})

test_another_label if not node_selector_matches.allow with input as target({"nodeSelector": {"disk": "hdd"}, "tolerations": tolerations})

test_a_taint if {
	not node_selector_matches.allow with input as target({})
	count(node_selector_matches.reasons) == 1 with input as target({})
}

test_another_effect_is_not_tolerated if not node_selector_matches.allow with input as target({"tolerations": [{"operator": "Exists", "effect": "NoExecute"}]})

test_everything_is_tolerated if node_selector_matches.allow with input as target({"tolerations": [{"operator": "Exists"}]})

test_an_equal_toleration if node_selector_matches.allow with input as target({"tolerations": [{"key": "gpu", "value": "", "effect": "NoSchedule"}]})
