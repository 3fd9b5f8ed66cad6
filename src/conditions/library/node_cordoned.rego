# The node is marked unschedulable.
package conditions.node_cordoned

default allow := false

allow if input.target.spec.unschedulable == true

reasons contains "spec.unschedulable is not true" if not allow
