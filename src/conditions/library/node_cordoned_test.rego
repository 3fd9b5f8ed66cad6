package conditions.node_cordoned_test

import data.conditions.node_cordoned

test_holds if node_cordoned.allow with input as {"target": {"spec": {"unschedulable": true}}}

test_fails if not node_cordoned.allow with input as {"target": {"spec": {}}}
